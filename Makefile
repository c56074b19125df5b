# Longhaul. `make` builds build/longhaul; `make help` lists the rest.
# Everything is found by wildcard: adding a model, task or operation changes no line here.

CC      ?= gcc
NVCC    ?= $(shell command -v nvcc 2>/dev/null || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
PREFIX  ?= /usr/local
BUILD   ?= build
VERSION := 0.1.0

PACKAGES := openblas fftw3 fftw3f yaml-0.1 jansson libmd
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

.PHONY: all test help install clean format
all: $(BUILD)/longhaul

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

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/liblonghaul.a
	$(CC) $(LDFLAGS) -o $@ $< $(BUILD)/liblonghaul.a $(LDLIBS) $(shell $(PKG_CONFIG) --libs cmocka)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
