"""What a DICOM header says against a model, before anything is computed: another modality, another part of the body."""

from __future__ import annotations

import re

from wsseg.errors import WssegError
from wsseg.images.volume import Made
from wsseg.models.package import ModelPackage, dicom_modality

_MODALITIES = "BI CR CT DX ES GM IVUS IO MG MR NM OCT OP OPT PT PX RF RG SM TG US XA XC"
"""DICOM's words for what makes images (PS3.3 C.7.3.1.1.1); others, as OT, say nothing."""

_REGIONS = {
    "head": "HEAD HEADNECK BRAIN SKULL ORBIT EYE EYES FACE SINUS JAW MANDIBLE MAXILLA EAR IAC PITUITARY SELLA NOSE TMJ"
    " HIPPOCAMPUS CEREBELLUM BRAINSTEM CEREBRAL WHOLEBODY",
    "neck": "NECK HEADNECK CSPINE THYROID LARYNX PHARYNX CAROTID NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV WHOLEBODY",
    "chest": "CHEST THORAX HEART CARDIAC LUNG LUNGS BREAST MEDIASTINUM TSPINE RIB RIBS STERNUM CLAVICLE"
    " CORONARYARTERY NECKCHEST CHESTABDOMEN CHESTABDPELVIS NECKCHESTABDOMEN NECKCHESTABDPELV WHOLEBODY",
    "abdomen": "ABDOMEN LIVER KIDNEY KIDNEYS SPLEEN PANCREAS STOMACH ADRENAL GALLBLADDER BILEDUCT BOWEL COLON LSPINE"
    " ABDOMENPELVIS CHESTABDOMEN CHESTABDPELVIS NECKCHESTABDOMEN NECKCHESTABDPELV WHOLEBODY",
    "pelvis": "PELVIS PROSTATE UTERUS BLADDER OVARY RECTUM SSPINE TESTIS SCROTUM ABDOMENPELVIS CHESTABDPELVIS"
    " NECKCHESTABDPELV WHOLEBODY",
    "arm": "ARM SHOULDER SCAPULA HUMERUS ELBOW FOREARM WRIST HAND FINGER THUMB RADIUS ULNA EXTREMITY WHOLEBODY",
    "leg": "LEG HIP THIGH FEMUR KNEE PATELLA CALF TIBIA FIBULA ANKLE FOOT TOE CALCANEUS EXTREMITY WHOLEBODY",
}
"""Regions, and the words that DICOM and scanners have for what lies in them (PS3.16 annex L)."""


def check_made(made: Made, package: ModelPackage) -> None:
    """Refuse a scan of another modality or part of the body than the model reads, where header and model name both.

    Raises:
        WssegError: with what the header says.
    """
    modality = made.modality.strip().upper()
    reads = dicom_modality(package.recipe.modality)
    if {modality, reads} <= set(_MODALITIES.split()) and modality != reads:
        raise WssegError(_refusal("Modality", modality, package, package.recipe.modality))
    part = made.body_part.strip().upper()
    there, made_for = regions(part), regions(package.recipe.body_part)
    if there and made_for and not there & made_for:
        raise WssegError(_refusal("BodyPartExamined", part, package, package.recipe.body_part))


def regions(part: str) -> frozenset[str]:
    """Regions that a body part lies in; none of a word that is not known."""
    words = {re.sub("[^A-Z]", "", part.upper()), *re.split("[^A-Z]+", part.upper())}
    return frozenset(region for region, known in _REGIONS.items() if words & set(known.split()))


def _refusal(attribute: str, said: str, package: ModelPackage, reads: str) -> str:
    return f"{attribute}: the scan's is {said}, {package.name} reads {reads}; it is segmented all the same with force"
