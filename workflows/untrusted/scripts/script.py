"""A guest: it does its work, and tries what it should not be able to do."""

import csv
import json
import os
import socket
import sys
from collections import Counter


def call_home():
    socket.create_connection(("93.184.215.14", 80), timeout=3)


def resolve_a_name():
    socket.getaddrinfo("example.com", 443)


def read_the_password_hashes():
    open("/etc/shadow").read()  # noqa: PTH123, SIM115


def change_the_input():
    open("/data/orders.csv", "a").write("mallory,1000000\n")  # noqa: PTH123, SIM115


def plant_a_program():
    open("/usr/bin/ls", "w").write("#!/bin/sh\n")  # noqa: PTH123, SIM115


def become_root():
    os.setuid(0)


def read_its_keeper():
    list(os.scandir("/proc/1/fd"))


def talk_to_the_engine():
    socket.socket(socket.AF_UNIX).connect("/var/run/docker.sock")


def fill_the_disk():
    with open("/work/big", "wb") as big:  # noqa: PTH123
        big.writelines(bytes(1 << 20) for _ in range(64))


ATTEMPTS = (
    call_home,
    resolve_a_name,
    read_the_password_hashes,
    change_the_input,
    plant_a_program,
    become_root,
    read_its_keeper,
    talk_to_the_engine,
    fill_the_disk,
)

orders, target = sys.argv[1:]
totals = Counter()
with open(orders, newline="") as lines:  # noqa: PTH123
    for row in csv.DictReader(lines):
        totals[row["customer"]] += float(row["total"])
with open(target, "w") as result:  # noqa: PTH123
    json.dump(totals, result)
with open("/out/attempts.txt", "w") as notes:  # noqa: PTH123
    for attempt in ATTEMPTS:
        try:
            attempt()
            notes.write(f"SUCCEEDED {attempt.__name__}\n")
        except OSError as error:
            notes.write(f"refused   {attempt.__name__}: {error}\n")
print(f"{len(totals)} customers, {len(ATTEMPTS)} attempts")
