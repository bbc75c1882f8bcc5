# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
# libvirt-vepa: `make demo` shows it, `make check` tests it, `make install` installs it.
PREFIX  = /usr
DESTDIR =
# Where `make deb` and `make rpm` leave what they build.
DEB     = build/deb
RPM     = build/rpm
PYTHON  = /usr/bin/python3

INSTALLING = $(PYTHON) -I packaging/installing.py
# Where that Python looks below PREFIX; a folder where it does not look works as well.
LIBRARY := $(or $(shell $(INSTALLING) library '$(PREFIX)'),$(PREFIX)/lib/python3/dist-packages)
DATA    = $(PREFIX)/share/libvirt-vepa
BIN     = $(PREFIX)/bin
SBIN    = $(PREFIX)/sbin
UNITS   = $(PREFIX)/lib/systemd/system
MAN     = $(PREFIX)/share/man
UDEV    = $(PREFIX)/lib/udev/rules.d
NETWORK = $(PREFIX)/lib/systemd/network
MANAGER = $(PREFIX)/lib/NetworkManager/conf.d
HOOKS   = /etc/libvirt/hooks/qemu.d
HOOK    = $(HOOKS)/libvirt-vepa

VERSION  := $(shell sed -n 's/^VERSION = "\(.*\)"/\1/p' libvirt_vepa/version.py)
METADATA  = $(LIBRARY)/libvirt_vepa-$(VERSION).dist-info

# Everything that names the Python, a program or the data is told where they are.
SHEBANG := $(shell $(INSTALLING) executable)
TOLD    := $(if $(shell $(INSTALLING) found '$(LIBRARY)'),,-e 's|^LIBRARY = None .*|LIBRARY = "$(LIBRARY)"|')
FILLED   = sed -e '1s|/usr/bin/python3|$(SHEBANG)|' $(TOLD) \
    -e 's|/usr/bin/\(libvirt\\\?-vepa\)|$(BIN)/\1|g' -e 's|/usr/sbin/\(libvirt\\\?-vepa\)|$(SBIN)/\1|g' \
    -e 's|/usr/share/\(libvirt\\\?-vepa\)|$(patsubst %/libvirt-vepa,%,$(DATA))/\1|g'

PROGRAMS = $(BIN)/libvirt-vepa $(BIN)/libvirt-vepa-connect $(BIN)/libvirt-vepa-hook $(SBIN)/libvirt-vepad
SOCKETS  = $(notdir $(wildcard packaging/*.socket))
RESIDENT = $(notdir $(wildcard packaging/*.service))
SERVICES = $(patsubst packaging/%,$(UNITS)/%,$(wildcard packaging/*.socket packaging/*.service))
PAGES    = $(foreach section,1 5 8,$(patsubst packaging/%,$(MAN)/man$(section)/%,$(wildcard packaging/*.$(section))))
# What has udev and the managers of networks leave our devices alone.
RULES    = $(patsubst packaging/udev/%,$(UDEV)/%,$(wildcard packaging/udev/*.rules))
LINKS    = $(patsubst packaging/networkd/%,$(NETWORK)/%,$(wildcard packaging/networkd/*))
MANAGED  = $(patsubst packaging/NetworkManager/%,$(MANAGER)/%,$(wildcard packaging/NetworkManager/*.conf))
PLACED   = $(PROGRAMS) $(SERVICES) $(PAGES) $(RULES) $(LINKS) $(MANAGED)

# $(call place,FROM,FILES,MODE) makes each of these files whole, or leaves the one that was there.
place = for file in $(2); do \
    { $(FILLED) $(1)/$${file\#\#*/} >$(DESTDIR)$$file.new && chmod $(3) $(DESTDIR)$$file.new && \
    mv $(DESTDIR)$$file.new $(DESTDIR)$$file; } || exit 1; done

# A guest for which the hook must find its program, the package, the libraries and the data; nothing is made for it.
GUEST = <domain><devices><interface type="physical"><name>lan</name></interface></devices></domain>
fails = { echo "make install: $(1) does not run: $$(echo "$$said" | tail -n 1)" >&2; exit 1; }

.PHONY: all install uninstall deb rpm demo check quick lab machine bench lint clean

all:
	@echo 'Nothing to build. See `make demo`, `make check`, `make install`.'

install:
	install -d $(addprefix $(DESTDIR),$(sort $(dir $(PLACED))) $(DATA) $(HOOKS) /etc/libvirt/vepa)
	# The package is changed as a whole, and holds nothing of another version.
	rm -rf $(DESTDIR)$(LIBRARY)/.libvirt_vepa $(DESTDIR)$(LIBRARY)/libvirt_vepa-*.dist-info
	find libvirt_vepa -name '*.py' -exec install -D -m 644 {} $(DESTDIR)$(LIBRARY)/.libvirt_vepa/new/{} \;
	if [ -d $(DESTDIR)$(LIBRARY)/libvirt_vepa ]; then \
	    mv $(DESTDIR)$(LIBRARY)/libvirt_vepa $(DESTDIR)$(LIBRARY)/.libvirt_vepa/old; fi
	mv $(DESTDIR)$(LIBRARY)/.libvirt_vepa/new/libvirt_vepa $(DESTDIR)$(LIBRARY)
	rm -rf $(DESTDIR)$(LIBRARY)/.libvirt_vepa
	install -d $(DESTDIR)$(METADATA)
	$(INSTALLING) metadata $(VERSION) >$(DESTDIR)$(METADATA)/METADATA
	install -m 644 xslt/*.xsl xslt/*.rng $(DESTDIR)$(DATA)
	@$(call place,hooks,$(DATA)/hand_over.py,644)
	@$(call place,packaging,$(PROGRAMS),755)
	@$(call place,packaging,$(SERVICES) $(PAGES),644)
	@$(call place,packaging/udev,$(RULES),644)
	@$(call place,packaging/networkd,$(LINKS),644)
	@$(call place,packaging/NetworkManager,$(MANAGED),644)
	# libvirt runs every executable file in the folder, so it appears there whole or not at all.
	@$(FILLED) hooks/qemu >$(DESTDIR)$(HOOKS)/../.libvirt-vepa && chmod 755 $(DESTDIR)$(HOOKS)/../.libvirt-vepa
	mv $(DESTDIR)$(HOOKS)/../.libvirt-vepa $(DESTDIR)$(HOOK)
ifeq ($(DESTDIR),)
	$(PYTHON) -m compileall -q $(LIBRARY)/libvirt_vepa
	@if [ -d /run/systemd/system ]; then systemctl daemon-reload; \
	    if systemctl -q is-active systemd-networkd; then networkctl reload; fi; fi
	# No old code answers. Who is connected goes on.
	@if [ -d /run/systemd/system ]; then for service in $(RESIDENT); do \
	    if systemctl -q is-active $$service; then systemctl restart $$service; fi; done; fi
	@$(INSTALLING) missing $(LIBRARY)
	@for program in $(filter-out %-hook,$(PROGRAMS)); do \
	    said=$$($$program --version 2>&1) || $(call fails,$$program); done
	@said=$$(echo '$(GUEST)' | $(HOOK) lan migrate begin - 2>&1 >/dev/null) || $(call fails,$(HOOK))
	@echo 'Where this is the first hook of this host: systemctl try-reload-or-restart libvirtd (or virtqemud).'
	@echo 'Where users who are not root attach devices: systemctl enable --now libvirt-vepad.socket'
endif

uninstall:
ifeq ($(DESTDIR),)
	# Or virsh would go on looking for what is gone. Users must do that for themselves, and are named.
	-@if [ -x $(BIN)/libvirt-vepa ]; then $(BIN)/libvirt-vepa disable; $(BIN)/libvirt-vepa disable --report-users; fi
	-@if [ -d /run/systemd/system ]; then systemctl -q disable --now $(SOCKETS); fi
endif
	rm -rf $(addprefix $(DESTDIR),$(LIBRARY)/libvirt_vepa $(LIBRARY)/libvirt_vepa-*.dist-info $(DATA))
	rm -f $(addprefix $(DESTDIR),$(PLACED) $(HOOK))
	-rmdir --ignore-fail-on-non-empty $(DESTDIR)$(HOOKS) $(DESTDIR)/etc/libvirt/vepa
ifeq ($(DESTDIR),)
	-@if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
endif

deb:
	tests/lab/prepare package
	packaging/make-deb $(DEB)

rpm:
	tests/lab/prepare package
	packaging/make-rpm $(RPM)

demo:
	tests/lab/prepare demo
	tests/lab/enter $(PYTHON) -m tests.lab.demo

check:
	tests/check

quick:
	tests/check quick

lab:
	tests/lab/prepare lab
	tests/lab/boot $(PYTHON) -m pytest -q tests/sriov

machine:
	tests/lab/prepare machine
	tests/lab/machine shell $(or $(RELEASE),13)

# `make bench PARTS='start calls' RUNS=5` measures less.
bench:
	tests/lab/prepare bench
	tests/lab/enter $(PYTHON) -m tests.lab.bench $(addprefix --runs=,$(RUNS)) $(PARTS)

lint:
	build/venv/bin/ruff check .
	build/venv/bin/ruff format --check .
	build/venv/bin/python -m mypy
	build/venv/bin/lint-imports --no-cache --no-logo

clean:
	rm -rf build
