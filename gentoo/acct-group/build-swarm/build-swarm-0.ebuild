# Distributed under the terms of the MIT or Apache-2.0 license, at your option

EAPI=8

inherit acct-group

# Any free number: fixed ones are reserved in Gentoo's own repository.
ACCT_GROUP_ID=-1
