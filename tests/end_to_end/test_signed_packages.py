"""A package that is signed at home and asked for by the Steward: from `up` to the certificate, and to its renewal."""

from __future__ import annotations

import json
from pathlib import Path


def test_a_steward_that_asks_for_signatures_certifies_a_signed_package_and_no_other(cli, echo_project) -> None:
    key = json.loads(cli("key", "generate", "release.key", "--no-passphrase", "--json").stdout)
    state = Path(cli.environment["ENARX_DEPLOY_STATE_DIR"])
    policy = state / "steward" / "steward.toml"
    policy.parent.mkdir(mode=0o700, parents=True)
    policy.write_text(
        '[ca]\ntrust_domain = "localhost"\n[nil]\nany_workload = true\nnames = ["localhost"]\n'
        f"[[packages.signers]]\nname = 'release team'\nkey = '''{key['pem']}'''\n"
    )
    policy.chmod(0o600)
    project = echo_project()
    refused = cli("up", "-C", str(project))
    assert refused.returncode == 3, refused.stderr
    assert "packages.signed" in refused.stderr
    done = cli("up", "--json", "-C", str(project), "--sign", str(cli.directory / "release.key"))
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    verified = cli("verify", "--json", f"localhost:{record['endpoints'][0]['port']}")
    assert verified.returncode == 0, verified.stderr
    assert key["id"] in verified.stdout
    renewed = cli("renew", record["deployment"]["id"])
    assert renewed.returncode == 0, renewed.stderr
