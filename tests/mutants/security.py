"""All mutants about clients and programs that must not get more rights."""

from __future__ import annotations

from tests.mutants.bystanders import BYSTANDERS
from tests.mutants.copying import COPYING
from tests.mutants.refusals import REFUSALS, VANISHED
from tests.mutants.security_access import ACCESS
from tests.mutants.security_config import CONFIG
from tests.mutants.security_containers import CONTAINERS
from tests.mutants.security_doors import DOORS
from tests.mutants.security_foreign import FOREIGN
from tests.mutants.security_fresh import FRESH
from tests.mutants.security_inherited import INHERITED
from tests.mutants.security_killed import KILLED
from tests.mutants.security_messages import MESSAGES
from tests.mutants.security_pidfiles import PIDFILES
from tests.mutants.security_privileges import PRIVILEGES
from tests.mutants.security_relay import RELAY
from tests.mutants.security_reload import RELOAD
from tests.mutants.security_remains import REMAINS
from tests.mutants.security_sessions import SESSIONS
from tests.mutants.security_silent import SILENT
from tests.mutants.security_sockets import SOCKETS
from tests.mutants.security_supervisor import SUPERVISOR
from tests.mutants.security_tls import TLS
from tests.mutants.security_tls_attacks import TLS_ATTACKS
from tests.mutants.security_tls_users import TLS_USERS
from tests.mutants.security_together import TOGETHER
from tests.mutants.security_trusted_files import TRUSTED_FILES
from tests.mutants.shared import SHARED

SECURITY = (
    *BYSTANDERS,
    *ACCESS,
    *CONFIG,
    *SOCKETS,
    *SESSIONS,
    *PRIVILEGES,
    *MESSAGES,
    *TRUSTED_FILES,
    *TLS,
    *INHERITED,
    *TLS_ATTACKS,
    *TLS_USERS,
    *PIDFILES,
    *CONTAINERS,
    *RELOAD,
    *SUPERVISOR,
    *REFUSALS,
    *VANISHED,
    *DOORS,
    *FOREIGN,
    *SILENT,
    *FRESH,
    *KILLED,
    *RELAY,
    *TOGETHER,
    *REMAINS,
    *SHARED,
    *COPYING,
)
