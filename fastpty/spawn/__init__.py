"""The C part of starting a program: the child until execve, and clone3. It compiles into `_spawn`."""
