"""Processes in front of the relay that end another protocol, such as TLS, and pass plain bytes on."""
