# make            bin/margay, static, the version from git
# make demo       the whole story on a private network, with no hardware
# make test       vet and every test, real firmware included; installs what it needs
# make check      gofmt, vet, staticcheck, import graph: what a commit needs
# make guests     Debian's installer, a diskless image and a small Linux in qemu (slow; wants a mirror)
# make race       every unit test under the race detector
# make bench      benchmarks        make fuzz   every fuzz test for FUZZTIME
# make bench-net  the services beside others', medians of 5 rounds; BENCH_NET=DHCP (DNS, TFTP, HTTP) for one
# make bench-vm   guests beside pyvmomi and govc, medians of BENCH_ROUNDS rounds
# make soak       crash and boot tests over and over, for SOAK
# make cross      bin/margay-arm64  make install  into DESTDIR and PREFIX

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# Libraries with thousands of small methods that are called over the network, or
# seldom, and what of our own only talks to hosts and BMCs: inlined into each other
# they would take 2.6 MB of the program. What reads vSphere's answers has to be fast.
SMALL     = -tags grpcnotrace $(foreach p,github.com/stmcginnis/gofish/... github.com/vmware/govmomi/... github.com/bougou/... \
	github.com/prometheus/... go.uber.org/... go.etcd.io/etcd/... google.golang.org/... github.com/spf13/... \
	margay/vm margay/vm/esxsh margay/provision/bmc/...,-gcflags=$(p)=-l) \
	-gcflags=github.com/vmware/govmomi/vim25/xml=
BUILD     = CGO_ENABLED=0 go build -trimpath -buildvcs=false $(SMALL) -ldflags '-s -w -X main.version=$(VERSION)'
FUZZTIME ?= 30s
SOAK     ?= 30m
BENCH    ?= .
BENCH_NET ?=

.PHONY: all build demo test check guests race bench bench-net bench-vm fuzz soak cross install clean

all build:
	$(BUILD) -o bin/margay ./cmd/margay

demo: build
	go build -buildvcs=false -o bin/margay-demo ./cmd/margay-demo
	bin/margay-demo -margay bin/margay

test:
	.ci/packages test
	.ci/test

check:
	.ci/check

guests:
	.ci/packages test
	MARGAY_TEST_REAL=1 go test -v -count=1 -timeout 60m ./cmd/margay/guest

race:
	.ci/packages test
	MARGAY_TEST_REAL=1 go test -race -timeout 40m $$(go list ./... | grep -Ev '/(e2e|guest)$$')

bench:
	.ci/packages bench
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...
	go test -tags bench -run TestBenchTable -count=1 -v ./nodedb

# Alone on the machine, and as root: server and load have a core each.
bench-net:
	.ci/packages bench
	go test -tags bench -run 'TestBench$(BENCH_NET)' -count=1 -v -timeout 120m ./netboot/netboottest

# govc is built outside this module the first time, which takes minutes.
bench-vm:
	.ci/packages bench
	BENCH_GOVC=$$(.ci/govc) go test -tags bench -run TestBenchGuests -count=1 -v -timeout 60m ./vm/vsphere

fuzz:
	.ci/fuzz $(FUZZTIME)

soak:
	.ci/packages test
	.ci/soak $(SOAK)

cross:
	GOOS=linux GOARCH=arm64 $(BUILD) -o bin/margay-arm64 ./cmd/margay

# DESTDIR and PREFIX as packagers know them; the unit file is not enabled, and
# its defaults are left alone where they are.
PREFIX ?= /usr
install: build
	install -D -m 0755 bin/margay $(DESTDIR)$(PREFIX)/bin/margay
	install -D -m 0644 packaging/margay.service $(DESTDIR)/lib/systemd/system/margay.service
	test -e $(DESTDIR)/etc/default/margay || install -D -m 0644 packaging/margay.default $(DESTDIR)/etc/default/margay

clean:
	rm -rf bin
