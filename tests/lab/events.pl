#!/usr/bin/perl
# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
# A client of libvirt's Perl binding: defines the guest whose XML is on its standard input, starts it, ends it and
# removes it; prints what it is told, the guest's XML, and each event of its life.
#
#     events.pl URI [WRONG], where WRONG is XML that cannot be defined
use strict;
use warnings;
use Sys::Virt;
use Sys::Virt::Domain;
use Sys::Virt::Event;

Sys::Virt::Event::register_default();
my $connection = Sys::Virt->new(uri => $ARGV[0]);
my @heard;
my $listener = $connection->domain_event_register_any(undef, Sys::Virt::Domain::EVENT_ID_LIFECYCLE,
    sub { push @heard, $_[2] });
my $late;
my $timer = Sys::Virt::Event::add_timeout(20_000, sub { $late = 1 });

# One after the other, or two might be told as one.
sub wait_for {
    my $event = shift;
    until (grep { $_ == $event } @heard) {
        die "no event $event in 20 seconds\n" if $late;
        Sys::Virt::Event::run_default();
    }
    print "event $event\n";
}

my $guest = $connection->define_domain(do { local $/; <STDIN> });
wait_for(Sys::Virt::Domain::EVENT_DEFINED);
$guest->create();
wait_for(Sys::Virt::Domain::EVENT_STARTED);
print "runs: ", join(" ", map { $_->get_name() } $connection->list_all_domains(Sys::Virt::Domain::LIST_ACTIVE)), "\n";
print $guest->get_xml_description(Sys::Virt::Domain::XML_INACTIVE), "\n";
$guest->destroy();
wait_for(Sys::Virt::Domain::EVENT_STOPPED);
$guest->undefine();
wait_for(Sys::Virt::Domain::EVENT_UNDEFINED);
$connection->domain_event_deregister_any($listener);
Sys::Virt::Event::remove_timeout($timer);
if (@ARGV > 1) {
    eval { $connection->define_domain($ARGV[1]) };
    print "error: ", $@->code, " ", $@->domain, " ", $@->message, "\n";
}
