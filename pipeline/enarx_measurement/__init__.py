"""What a Keep on hardware must measure to, and what its owner signs: AMD's and Intel's structures, to the byte.

A pure library: no network, no clock, no devices. Nothing here has been compared with a chip that computed it; the
known answers that tests compare it with are those of others' programs (docs/measurement.md).
"""

from .errors import MeasurementFault
from .event_log import Registers, registers
from .keys import create_sev, create_sgx, load_sev, load_sgx, sev_digest, sgx_digest
from .snp_launch import Image, Shape, launch_digests, shapes
from .snp_policy import guest_policy
from .snp_structures import ID_KEY_SIGNATURE_SIZE, id_auth, id_block, sign_id_key
from .tdx_launch import mrtds

__all__ = [
    "ID_KEY_SIGNATURE_SIZE",
    "Image",
    "MeasurementFault",
    "Registers",
    "Shape",
    "create_sev",
    "create_sgx",
    "guest_policy",
    "id_auth",
    "id_block",
    "launch_digests",
    "load_sev",
    "load_sgx",
    "mrtds",
    "registers",
    "sev_digest",
    "sgx_digest",
    "shapes",
    "sign_id_key",
]
