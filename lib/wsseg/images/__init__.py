"""A scan with its geometry: formats in and out, masks onto its grid."""
