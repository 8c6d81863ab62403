"""Object identifiers of the certificate extensions that carry Enarx evidence (Profian's arc, 58270).

An extension with one of these identifiers appears in a Keep's certificate request; its value is the evidence.
"""

from __future__ import annotations

from typing import Final

NIL: Final = "1.3.6.1.4.1.58270.1.1"
"""A Keep without hardware protection (Enarx: nil and kvm)."""

SGX: Final = "1.3.6.1.4.1.58270.1.2"
"""Intel SGX: a DER `SgxEvidence`."""

SNP: Final = "1.3.6.1.4.1.58270.1.3"
"""AMD SEV-SNP: a DER `SnpEvidence`."""

KIND_OF_OID: Final = {NIL: "nil", SGX: "sgx", SNP: "snp"}
"""The kind of evidence that an extension carries."""
