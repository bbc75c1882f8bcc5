# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The version of libvirt-vepa, said here and nowhere else; setup.cfg and the packages read it from here."""

VERSION = "0.1.0"
