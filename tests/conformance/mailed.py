#!/usr/bin/env python3
"""Prints the newest token of a kind that the server would have mailed to an address.

    mailed.py EMAIL verify|reset|invite

The server that the test starts sends no mail; its owner may see what would have been sent.
"""
import os
import sys

import requests

PURPOSES = {"verify": "verification", "reset": "password reset", "invite": "invitation"}


def main(email, kind):
    base = os.environ["ENSIGN_AUTH_URL"]
    who = {"email": os.environ["ENSIGN_OWNER_EMAIL"], "password": os.environ["ENSIGN_OWNER_PASSWORD"]}
    token = requests.post(base + "/v1/login", json=who, timeout=30).json()["access_token"]
    reply = requests.get(base + "/api/mail", headers={"Authorization": "Bearer " + token}, timeout=30).json()
    found = [mail for mail in reply["mail"] if mail["to"].lower() == email.lower() and mail["purpose"] == PURPOSES[kind]]
    if found:
        print(found[-1]["token"])


if __name__ == "__main__":
    main(*sys.argv[1:])
