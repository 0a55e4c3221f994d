"""The system calls and kernel interfaces that the other packages share. It knows nothing of fastpty."""
