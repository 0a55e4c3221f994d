"""What a daemon needs: the background, pid files, and the names of its processes."""
