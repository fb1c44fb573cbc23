"""The scans a server works on: a folder or an archive, and the labels of them."""
