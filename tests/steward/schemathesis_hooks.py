"""For schemathesis: requests of Enarx's protocol travel as they are."""

import schemathesis

schemathesis.serializer.alias(
    ["application/pkcs10", "application/vnd.steward.pkcs10-bundle.v1"], "application/octet-stream"
)
