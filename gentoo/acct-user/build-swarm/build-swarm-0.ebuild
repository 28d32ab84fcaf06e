# Distributed under the terms of the MIT or Apache-2.0 license, at your option

EAPI=8

inherit acct-user

DESCRIPTION="Build Swarm orchestrator"

# Any free number: fixed ones are reserved in Gentoo's own repository.
ACCT_USER_ID=-1
ACCT_USER_GROUPS=( build-swarm )
# The state directory, which holds keys.
ACCT_USER_HOME=/var/lib/build-swarm
ACCT_USER_HOME_PERMS=0700

acct-user_add_deps
