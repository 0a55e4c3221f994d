"""What any daemon needs: going to the background, pid files, the control socket, and the names of its processes.

Starting and replacing workers belongs to `supervision`. Log files belong to `log`.
"""
