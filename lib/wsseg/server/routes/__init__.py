"""HTTP: what the server answers under which address."""
