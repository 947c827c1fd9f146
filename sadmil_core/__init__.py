"""Reading head CT with smooth-attention multiple instance learning (SA-DMIL).

The package behind the viewer: DICOM series to Hounsfield volumes, the SA-DMIL network
(Wu et al., MICCAI 2023, arXiv 2307.09457), prediction, reports and the ``sadmil`` command
line. It imports no Qt. For research, never for diagnosis.
"""

__version__ = "0.1.0"

RESEARCH_USE_NOTICE = "Research use only, not for diagnosis"
