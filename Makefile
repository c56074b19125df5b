# Longhaul. `make` builds build/longhaul; `make help` lists the rest.
# Everything is found by wildcard: adding a model, task or operation changes no line here.

CC      ?= gcc
NVCC    ?= $(shell command -v nvcc 2>/dev/null || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
PREFIX  ?= /usr/local
BUILD   ?= build
VERSION := 0.1.0

PACKAGES := openblas fftw3 fftw3f yaml-0.1 jansson libmd libpng zlib
PKG_CONFIG ?= pkg-config

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
            -Wpointer-arith -Wvla -Wno-unknown-pragmas
CPPFLAGS += -I. -I$(BUILD) -D_GNU_SOURCE -DLONGHAUL_VERSION='"$(VERSION)"' $(shell $(PKG_CONFIG) --cflags $(PACKAGES))
CFLAGS   ?= -O3 -g
CFLAGS   += -std=c11 -fopenmp -fno-math-errno -fno-trapping-math -ffp-contract=fast $(WARNINGS)
LDLIBS   := $(shell $(PKG_CONFIG) --libs $(PACKAGES)) -ldl -lm
LDFLAGS  += -fopenmp -rdynamic

# Kernel files (*_cpu.c) are compiled once per instruction set; the program picks one when it starts.
ISAS := portable avx2 avx512
ifeq ($(shell uname -m),x86_64)
FLAGS_portable := -march=x86-64
FLAGS_avx2     := -march=x86-64-v3
FLAGS_avx512   := -march=x86-64-v4 -mprefer-vector-width=512
endif

KERNELS := $(sort $(wildcard engine/*_cpu.c engine/ops/*/*_cpu.c))
SOURCES := $(sort $(filter-out $(KERNELS) bench/main.c,$(wildcard engine/*.c engine/ops/*/*.c models/*.c tasks/*.c bench/*.c)))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) \
           $(foreach isa,$(ISAS),$(KERNELS:%.c=$(BUILD)/%.$(isa).o))
TESTS   := $(patsubst tests/%.c,$(BUILD)/tests/%,$(sort $(wildcard tests/test_*.c)))

# CUDA kernels make a library of their own, loaded at run time, so one binary serves every machine.
CUDA_SOURCES       := $(sort $(shell find engine -name '*.cu'))
CUDA_ARCHITECTURES ?= 80 90
CUDA_FLAGS         ?= -O3
CUDA_FLAGS         += -std=c++17 -Xcompiler -fPIC \
                      $(foreach a,$(CUDA_ARCHITECTURES),-gencode arch=compute_$(a),code=sm_$(a))
ifneq ($(and $(NVCC),$(CUDA_SOURCES)),)
CUDA_LIBRARY := $(BUILD)/liblonghaul_cuda.so
endif

.PHONY: all test help install clean format
.SECONDARY:

all: $(BUILD)/longhaul $(CUDA_LIBRARY) ## the program, build/longhaul (default)

test: all $(TESTS) ## every unit test and every test script; ends with "N passed, N failed"
	+@BUILD='$(BUILD)' tests/run.sh $(TESTS) $(sort $(wildcard tests/test_*.sh))

DESTINATION = $(DESTDIR)$(PREFIX)
SHARED      = $(DESTINATION)/share/longhaul
install: all ## program, data files, manual page and completion into PREFIX (/usr/local)
	install -D -m 755 $(BUILD)/longhaul '$(DESTINATION)/bin/longhaul'
	$(if $(CUDA_LIBRARY),install -D -m 755 $(CUDA_LIBRARY) '$(DESTINATION)/lib/liblonghaul_cuda.so')
	install -d '$(SHARED)/bench/suites' '$(SHARED)/results/published' '$(SHARED)/plots'
	install -m 644 $(wildcard bench/suites/*.yaml) '$(SHARED)/bench/suites'
	install -m 644 results/published/* '$(SHARED)/results/published'
	install -m 644 plots/*.gp '$(SHARED)/plots'
	install -d '$(DESTINATION)/share/man/man1' '$(DESTINATION)/share/bash-completion/completions'
	$(BUILD)/longhaul manual > '$(DESTINATION)/share/man/man1/longhaul.1'
	$(BUILD)/longhaul completion bash > '$(DESTINATION)/share/bash-completion/completions/longhaul'

clean: ## what make built; results and figures stay
	rm -rf '$(BUILD)'

format: ## clang-format every source in place
	clang-format -i $(shell git ls-files '*.c' '*.h' '*.cu' '*.cuh')

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(BUILD)/longhaul: $(BUILD)/bench/main.o $(BUILD)/liblonghaul.a
	$(CC) $(LDFLAGS) -o $@ $< -Wl,--whole-archive $(BUILD)/liblonghaul.a -Wl,--no-whole-archive $(LDLIBS)

$(BUILD)/liblonghaul.a: $(OBJECTS)
	@rm -f $@
	ar rcs $@ $(OBJECTS)

define kernel_rule
$(BUILD)/%.$(1).o: %.c
	@mkdir -p $$(@D)
	$$(CC) $$(CPPFLAGS) $$(CFLAGS) $$(FLAGS_$(1)) -DLONGHAUL_ISA=$(1) -MMD -MP -c -o $$@ $$<
endef
$(foreach isa,$(ISAS),$(eval $(call kernel_rule,$(isa))))

$(BUILD)/liblonghaul_cuda.so: $(CUDA_SOURCES:%.cu=$(BUILD)/%.cu.o)
	$(NVCC) -shared -o $@ $^ -lcublas -lcufft

$(BUILD)/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(NVCC) -I. -I$(BUILD) $(CUDA_FLAGS) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# What the program says about itself; the revision file changes only when the revision does.
$(BUILD)/revision: FORCE
	@mkdir -p $(@D)
	@git describe --always --dirty --abbrev=12 2>/dev/null > $@.new || echo unknown > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
FORCE:
$(BUILD)/bench/environment.o: $(BUILD)/revision
$(BUILD)/bench/environment.o: CPPFLAGS += -DLONGHAUL_COMPILER_FLAGS='"$(CFLAGS)"' \
                                          -DLONGHAUL_REVISION="\"$$(cat $(BUILD)/revision)\""

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/liblonghaul.a
	$(CC) $(LDFLAGS) -o $@ $< $(BUILD)/liblonghaul.a $(LDLIBS) $(shell $(PKG_CONFIG) --libs cmocka)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
