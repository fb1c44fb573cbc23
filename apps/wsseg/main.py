"""What MONAI Label loads from the folder given as ``--app``; it takes the one class it finds here."""

from wsseg.server.app import WssegApp  # noqa: F401
