"""The accounts of one hub, as its settings say."""

from hub import accounts
from hub.settings import HubSettings
from hub.state_dir import make_state_dir


def accounts_of(hub: HubSettings) -> tuple[accounts.Accounts, accounts.Credentials | None]:
    """The accounts of this hub, and the credentials if a password was made just now."""
    return accounts.open_accounts(
        make_state_dir(hub.state_path),
        username=hub.username,
        password=hub.password.get_secret_value() if hub.password else None,
        secret_key=hub.secret_key.get_secret_value() if hub.secret_key else None,
    )
