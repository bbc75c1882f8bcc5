# libvirt-vepa: `make demo` shows it, `make check` tests it, `make install` installs it.
PREFIX  = /usr
DESTDIR =
PYTHON  = /usr/bin/python3

LIBRARY = $(PREFIX)/lib/python3/dist-packages
DATA    = $(PREFIX)/share/libvirt-vepa
BIN     = $(PREFIX)/bin
SBIN    = $(PREFIX)/sbin
UNITS   = $(PREFIX)/lib/systemd/system
MAN     = $(PREFIX)/share/man/man8
HOOKS   = /etc/libvirt/hooks/qemu.d
HOOK    = $(HOOKS)/libvirt-vepa

# What runs is told which Python it needs. Debian's looks in /usr/lib/python3/dist-packages by itself;
# where the package is anywhere else, or the Python is another, it must be told that too.
SHEBANG = -e '1s|/usr/bin/python3|$(PYTHON)|'
ifneq ($(PREFIX) $(PYTHON),/usr /usr/bin/python3)
WHERE = -e 's|^LIBRARY = None .*|LIBRARY = "$(LIBRARY)"|'
endif
FILLED = sed $(SHEBANG) $(WHERE) -e 's|=/usr/\(s\?bin\)/|=$(PREFIX)/\1/|'

PROGRAMS = $(BIN)/libvirt-vepa $(BIN)/libvirt-vepa-connect $(SBIN)/libvirt-vepad
SERVICES = $(foreach service,libvirt-vepad libvirt-vepa-connect,$(UNITS)/$(service).socket $(UNITS)/$(service)@.service)
PAGES = $(MAN)/libvirt-vepa.8 $(MAN)/libvirt-vepa-connect.8 $(MAN)/libvirt-vepad.8

.PHONY: all install uninstall demo check quick lab bench lint clean

all:
	@echo 'Nothing to build. See `make demo`, `make check`, `make install`.'

install:
	install -d $(addprefix $(DESTDIR),$(LIBRARY)/libvirt_vepa $(DATA) $(BIN) $(SBIN) $(UNITS) $(MAN) $(HOOKS) /etc/libvirt/vepa)
	install -m 644 libvirt_vepa/*.py $(DESTDIR)$(LIBRARY)/libvirt_vepa
	install -m 644 xslt/*.xsl xslt/*.rng $(DESTDIR)$(DATA)
	install -m 644 $(addprefix packaging/,$(notdir $(PAGES))) $(DESTDIR)$(MAN)
	for file in $(PROGRAMS) $(SERVICES); do \
	    $(FILLED) packaging/$${file##*/} >$(DESTDIR)$$file || exit 1; \
	done
	chmod 755 $(addprefix $(DESTDIR),$(PROGRAMS))
	chmod 644 $(addprefix $(DESTDIR),$(SERVICES))
	# libvirt runs every executable file in the folder, so it appears there whole or not at all.
	$(FILLED) hooks/qemu >$(DESTDIR)$(HOOKS)/../.libvirt-vepa && chmod 755 $(DESTDIR)$(HOOKS)/../.libvirt-vepa
	mv $(DESTDIR)$(HOOKS)/../.libvirt-vepa $(DESTDIR)$(HOOK)
	$(PYTHON) -m compileall -q -s "$(DESTDIR)" -p / $(DESTDIR)$(LIBRARY)/libvirt_vepa
ifeq ($(DESTDIR),)
	@$(PYTHON) -c 'import libvirt, lxml, pyroute2' 2>/dev/null || \
	    echo 'Still missing: apt-get install python3-lxml python3-pyroute2 python3-libvirt'
	@$(PYTHON) -c 'import nftables' 2>/dev/null || echo 'Still missing, for sr-iov only: apt-get install python3-nftables'
	@echo 'Where this is the first hook of this host: systemctl reload libvirtd (or virtqemud).'
	@echo 'Where users who are not root attach devices: systemctl enable --now libvirt-vepad.socket'
endif

uninstall:
ifeq ($(DESTDIR),)
	# Or virsh would go on looking for what is gone. Users must do that for themselves.
	-@if [ -x $(BIN)/libvirt-vepa ]; then $(BIN)/libvirt-vepa disable; fi
	-@if [ -d /run/systemd/system ]; then systemctl -q disable --now libvirt-vepa-connect.socket libvirt-vepad.socket; fi
endif
	rm -rf $(DESTDIR)$(LIBRARY)/libvirt_vepa $(DESTDIR)$(DATA)
	rm -f $(addprefix $(DESTDIR),$(PROGRAMS) $(SERVICES) $(HOOK) $(PAGES))
	-rmdir --ignore-fail-on-non-empty $(DESTDIR)$(HOOKS) $(DESTDIR)/etc/libvirt/vepa

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

bench:
	tests/lab/prepare demo
	tests/lab/enter $(PYTHON) -m tests.lab.bench

lint:
	build/venv/bin/ruff check --config packaging/ruff.toml .
	build/venv/bin/ruff format --check --config packaging/ruff.toml .
	build/venv/bin/python -m mypy

clean:
	rm -rf build
