"""A small Hub on 127.0.0.1 that speaks the Hub's HTTP API to the real clients.

with HubServer(tmp_path / "hub") as server:
    sha = server.add_repo("someone/tiny-bert", folder, private=True)
    server.faults.add("commit", status=503)
    subprocess.run([...], env=clean | server.env_as("owner"))
    assert "commit" in server.steps()
"""

from .faults import Fault, Faults
from .server import HubServer, Request
from .store import Commit, File, Repo
from .users import Access, Users

__all__ = ["Access", "Commit", "Fault", "Faults", "File", "HubServer", "Repo", "Request", "Users"]
