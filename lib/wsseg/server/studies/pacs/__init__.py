"""Studies in a picture archive that speaks DICOMweb."""
