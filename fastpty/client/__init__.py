"""The person's end: the attached client, its terminal and its escape keys. Nothing here may load server code."""
