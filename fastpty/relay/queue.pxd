"""A queue of tasks: first in, first out. A task is in at most one queue and can be removed from its middle."""

from fastpty.relay.state cimport Queue, Task
from fastpty.system.check cimport check


cdef inline void queue_push(Queue *queue, Task *task) noexcept nogil:
    check(task.queue == NULL, "a task waits in one queue")
    task.queue = queue
    task.next = NULL
    task.previous = queue.tail
    if queue.tail != NULL:
        queue.tail.next = task
    else:
        queue.head = task
    queue.tail = task
    queue.length += 1


cdef inline void queue_remove(Task *task) noexcept nogil:
    """Takes a task out of the queue that it is in, if any."""
    cdef Queue *queue = task.queue
    if queue == NULL:
        return
    if task.previous != NULL:
        task.previous.next = task.next
    else:
        queue.head = task.next
    if task.next != NULL:
        task.next.previous = task.previous
    else:
        queue.tail = task.previous
    task.queue = NULL
    check(queue.length > 0, "a queue is as long as it says")
    queue.length -= 1


cdef inline Task *queue_pop(Queue *queue) noexcept nogil:
    """Removes and returns the first task, or returns NULL if the queue is empty."""
    cdef Task *task = queue.head
    if task != NULL:
        queue_remove(task)
    return task
