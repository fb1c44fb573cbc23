"""A DICOM series in, a DICOM SEG out.

Imported only where DICOM is met: its libraries take a second to load.
"""

import logging
import warnings

from pydicom import config

# What the libraries remark on values often quotes them, and a patient's name must never reach a log.
# Whatever matters is checked here, and refused in a sentence of ours.
config.settings.reading_validation_mode = config.IGNORE
for _library in ("pydicom", "highdicom"):
    logging.getLogger(_library).setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=rf"{_library}(\.|$)")
