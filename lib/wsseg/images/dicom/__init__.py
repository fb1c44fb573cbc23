"""A DICOM series in, a DICOM SEG out.

Imported only where DICOM is met: its libraries take a second to load.
"""
