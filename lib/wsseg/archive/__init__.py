"""A picture archive that speaks DICOMweb, worked through from one end to the other."""
