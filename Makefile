# Longhaul. `make` builds build/longhaul; `make help` lists the rest.
# Everything is found by wildcard: adding a model, task or operation changes no line here.

CC      ?= gcc
CXX     ?= g++
NVCC    ?= $(shell command -v nvcc 2>/dev/null || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
PREFIX  ?= /usr/local
PKG_CONFIG ?= pkg-config
BUILD   ?= build
VERSION := 0.1.0

# Libraries as installed, found by pkg-config, or those of a folder: make LIBRARIES=FOLDER. The program then
# looks for them beside itself, so tree and folder can be carried to another machine together.
ifeq ($(LIBRARIES),)
PACKAGES := openblas fftw3 fftw3f yaml-0.1 jansson libmd libpng zlib
LIBRARY_CPPFLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES))
LIBRARY_LDLIBS   := $(shell $(PKG_CONFIG) --libs $(PACKAGES))
LIBRARY_CMOCKA    = $(shell $(PKG_CONFIG) --libs cmocka)
else
ifeq ($(wildcard $(LIBRARIES)/names)$(filter libraries prefix help clean,$(MAKECMDGOALS)),)
$(error $(LIBRARIES) holds no libraries; first: make libraries LIBRARIES=$(LIBRARIES))
endif
LIBRARY_CPPFLAGS := -isystem $(LIBRARIES)/include
LIBRARY_LDLIBS   := -L$(LIBRARIES)/lib $(shell cat $(LIBRARIES)/names 2>/dev/null)
LIBRARY_CMOCKA   := -lcmocka
# An old-style RPATH also serves the libraries that these libraries need.
LIBRARY_LDFLAGS   = -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/$(shell realpath -m --relative-to=$(@D) $(LIBRARIES)/lib)' \
                    -Wl,-rpath-link,$(LIBRARIES)/lib
endif

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
            -Wpointer-arith -Wvla -Wno-unknown-pragmas
CPPFLAGS += -I. -I$(BUILD) -D_GNU_SOURCE -DLONGHAUL_VERSION='"$(VERSION)"' $(LIBRARY_CPPFLAGS)
CFLAGS   ?= -O3 -g1
CFLAGS   += -std=c11 -fopenmp -fno-math-errno -fno-trapping-math -ffp-contract=fast $(WARNINGS)
LDLIBS   := $(LIBRARY_LDLIBS) -ldl -lm
LDFLAGS  += -fopenmp -rdynamic

# Kernel files (*_cpu.c) are compiled once per instruction set; the program picks one when it starts.
ISAS := portable avx2 avx512
ifeq ($(shell uname -m),x86_64)
FLAGS_portable := -march=x86-64
FLAGS_avx2     := -march=x86-64-v3
FLAGS_avx512   := -march=x86-64-v4 -mprefer-vector-width=512
endif

KERNELS := $(sort $(wildcard engine/*_cpu.c engine/ops/*/*_cpu.c))
SOURCES := $(sort $(filter-out $(KERNELS) bench/mpi/%,$(wildcard engine/*.c engine/ops/*/*.c models/*.c tasks/*.c bench/*/*.c)))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) \
           $(foreach isa,$(ISAS),$(KERNELS:%.c=$(BUILD)/%.$(isa).o))
TESTS   := $(patsubst tests/%.c,$(BUILD)/tests/%,$(sort $(wildcard tests/test_*.c)))
# Begin first, so that none of them runs on when all others are done.
LONGEST := tests/test_cuda.sh tests/test_races.sh $(BUILD)/tests/test_ops

# CUDA kernels make a library of their own, loaded at run time, so one binary serves every machine.
# Machine code for each architecture, and PTX of the newest for GPUs that come later.
CUDA_SOURCES       := $(sort $(wildcard engine/cuda/*.cu engine/ops/*/*.cu))
CUDA_ARCHITECTURES ?= 80 86 89 90
CUDA_NEWEST        := $(lastword $(CUDA_ARCHITECTURES))
CUDA_MACHINE_CODE  := $(CUDA_ARCHITECTURES:%=sm_%) sm_90a compute_$(CUDA_NEWEST)
CUDA_OPTIMISE      ?= -O3
CUDA_FLAGS          = $(CUDA_OPTIMISE) -std=c++20 --extended-lambda -Xcompiler -fPIC \
                      -DLONGHAUL_CUDA_MACHINE_CODE='"$(CUDA_MACHINE_CODE)"'
CUDA_TARGETS        = $(foreach a,$(CUDA_ARCHITECTURES),-gencode arch=compute_$(a),code=sm_$(a)) \
                      -gencode arch=compute_$(CUDA_NEWEST),code=compute_$(CUDA_NEWEST)
# NAME_sm90a.cu uses what only Hopper has and no later GPU: code for it alone.
$(BUILD)/%_sm90a.cu.o: CUDA_TARGETS = -gencode arch=compute_90a,code=sm_90a
# Its products wait for each other where they are not optimised, which ptxas reports at length.
$(BUILD)/%_sm90a.cu.o: private override CUDA_OPTIMISE := -O3
# CUDA_UNITS=N: operations' files are compiled in N units (engine/cuda/unit.sh); half the work, if fewer at once.
CUDA_UNITED  := $(if $(CUDA_UNITS),$(filter-out engine/cuda/% %_sm90a.cu,$(CUDA_SOURCES)))
CUDA_OBJECTS := $(patsubst %.cu,$(BUILD)/%.cu.o,$(filter-out $(CUDA_UNITED),$(CUDA_SOURCES))) \
                $(if $(CUDA_UNITED),$(patsubst %,$(BUILD)/cuda_unit%.cu.o,$(shell seq $(CUDA_UNITS))))
ifneq ($(and $(NVCC),$(CUDA_SOURCES)),)
CUDA_LIBRARY := $(BUILD)/liblonghaul_cuda.so
endif

# So does MPI, for a cell on several processes: the first that pkg-config knows. MPI_PACKAGE=NAME chooses,
# MPI_PACKAGE= does without.
MPI_PACKAGE ?= $(firstword $(foreach name,ompi-c mpich mpi-c,$(shell $(PKG_CONFIG) --exists $(name) 2>/dev/null && echo $(name))))
MPI_CPPFLAGS  = $(patsubst -I%,-isystem %,$(shell $(PKG_CONFIG) --cflags $(MPI_PACKAGE)))
MPI_LDLIBS    = $(shell $(PKG_CONFIG) --libs $(MPI_PACKAGE))
ifneq ($(MPI_PACKAGE),)
MPI_LIBRARY := $(BUILD)/liblonghaul_mpi.so
endif

.PHONY: all test emulated races libraries prefix help install clean format FORCE
.SECONDARY:
.DELETE_ON_ERROR:

all: $(BUILD)/longhaul $(CUDA_LIBRARY) $(MPI_LIBRARY) ## the program, build/longhaul (default)

emulated: $(BUILD)/liblonghaul_cuda_emulated.so ## the CUDA kernels for the CPU: longhaul check --device cuda-emulated

races: $(BUILD)/liblonghaul_cuda_races.so ## the same, looking for data races: longhaul check --device cuda-races

test: all $(TESTS) emulated races $(BUILD)/tests/racy_kernels ## every unit test and every test script; ends with "N passed, N failed"
	+@BUILD='$(BUILD)' tests/run.sh $(LONGEST) $(filter-out $(LONGEST),$(TESTS) $(sort $(wildcard tests/test_*.sh)))

DESTINATION = $(DESTDIR)$(PREFIX)
SHARED      = $(DESTINATION)/share/longhaul
install: all ## program, data files, manual page and completion into PREFIX (/usr/local)
	install -D -m 755 $(BUILD)/longhaul '$(DESTINATION)/bin/longhaul'
	$(if $(CUDA_LIBRARY),install -D -m 755 $(CUDA_LIBRARY) '$(DESTINATION)/lib/liblonghaul_cuda.so')
	$(if $(MPI_LIBRARY),install -D -m 755 $(MPI_LIBRARY) '$(DESTINATION)/lib/liblonghaul_mpi.so')
	install -d '$(SHARED)/bench/suites' '$(SHARED)/results/published' '$(SHARED)/plots'
	install -m 644 $(wildcard bench/suites/*.yaml) '$(SHARED)/bench/suites'
	install -m 644 results/published/* '$(SHARED)/results/published'
	install -m 644 plots/*.gp '$(SHARED)/plots'
	install -d $(addprefix '$(DESTINATION)/share'/,man/man1 bash-completion/completions zsh/site-functions fish/vendor_completions.d)
	$(BUILD)/longhaul manual > '$(DESTINATION)/share/man/man1/longhaul.1'
	$(BUILD)/longhaul completion bash > '$(DESTINATION)/share/bash-completion/completions/longhaul'
	$(BUILD)/longhaul completion zsh > '$(DESTINATION)/share/zsh/site-functions/_longhaul'
	$(BUILD)/longhaul completion fish > '$(DESTINATION)/share/fish/vendor_completions.d/longhaul.fish'

libraries: ## LIBRARIES=FOLDER: fetch the libraries into FOLDER without root (Debian, Ubuntu); then make LIBRARIES=FOLDER
	@./libraries.sh '$(or $(LIBRARIES),$(error make libraries LIBRARIES=FOLDER))'

prefix: ## DIR=FOLDER: the same as libraries LIBRARIES=FOLDER
	@./libraries.sh '$(or $(DIR),$(error make prefix DIR=FOLDER))'

clean: ## what make built; results and figures stay
	rm -rf '$(BUILD)'

format: ## clang-format every source in place
	clang-format -i $(shell git ls-files '*.c' '*.h' '*.cu' '*.cuh')

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(BUILD)/longhaul: $(BUILD)/bench/main.o $(BUILD)/liblonghaul.a
	$(CC) $(LDFLAGS) $(LIBRARY_LDFLAGS) -o $@ $< -Wl,--whole-archive $(BUILD)/liblonghaul.a -Wl,--no-whole-archive $(LDLIBS)

$(BUILD)/liblonghaul.a: $(OBJECTS)
	@rm -f $@
	ar rcs $@ $(OBJECTS)

define kernel_rule
$(BUILD)/%.$(1).o: %.c
	@mkdir -p $$(@D)
	$$(CC) $$(CPPFLAGS) $$(CFLAGS) $$(FLAGS_$(1)) -DLONGHAUL_ISA=$(1) -MMD -MP -c -o $$@ $$<
endef
$(foreach isa,$(ISAS),$(eval $(call kernel_rule,$(isa))))

$(BUILD)/liblonghaul_cuda.so: $(CUDA_OBJECTS)
	$(NVCC) -shared -o $@ $^ -lcublasLt

$(BUILD)/liblonghaul_mpi.so: bench/mpi/team_mpi.c $(BUILD)/mpi
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(MPI_CPPFLAGS) $(CFLAGS) -fPIC -shared -MMD -MP -MF $(@:.so=.d) -o $@ $< $(MPI_LDLIBS)

# Another MPI is another library.
$(BUILD)/mpi: FORCE
	@mkdir -p $(@D)
	@echo '$(MPI_PACKAGE)' | cmp -s - $@ || echo '$(MPI_PACKAGE)' > $@

# The same kernels for the CPU: a grid of fibres instead of a GPU, for the tests.
EMULATED_SOURCES := $(CUDA_SOURCES) $(filter-out engine/cuda/races.cc,$(wildcard engine/cuda/*.cc))
EMULATED_FLAGS   := -x c++ -std=c++20 -g1 -fPIC -fno-math-errno -ffp-contract=fast -Wall -Wextra \
                    -Wno-missing-field-initializers -Wno-unknown-pragmas -I. -I$(BUILD) -D_GNU_SOURCE \
                    -DLONGHAUL_EMULATED
$(BUILD)/liblonghaul_cuda_emulated.so: $(EMULATED_SOURCES:%=$(BUILD)/%.emulated.o)
	$(CXX) -shared -o $@ $^

# What kernels begin with is parsed once: that is two thirds of a second of each file's one to four.
$(BUILD)/emulated.h $(BUILD)/races.h:
	@mkdir -p $(@D)
	@echo '#include "engine/cuda/grid.cuh"' > $@
$(BUILD)/%.h.gch: $(BUILD)/%.h
	$(CXX) $(patsubst c++,c++-header,$(EMULATED_FLAGS)) $(FLAGS_$*) -MMD -MP -MF $(@:.gch=.d) -MT $@ -o $@ $<

FLAGS_emulated := -O1
$(BUILD)/%.cu.emulated.o: %.cu $(BUILD)/emulated.h.gch
	@mkdir -p $(@D)
	$(CXX) -include $(BUILD)/emulated.h $(EMULATED_FLAGS) $(FLAGS_emulated) -MMD -MP -c -o $@ $<
$(BUILD)/%.cc.emulated.o: %.cc
	@mkdir -p $(@D)
	$(CXX) $(EMULATED_FLAGS) -O2 -MMD -MP -c -o $@ $<

# Once more with every access of a kernel reported to engine/cuda/races.cc, which takes the place of libtsan. (The
# warnings are those of the plain one.) Both at -O1: more would cost a test run more than it saves.
RACES_OBJECTS := $(patsubst %,$(BUILD)/%.races.o,$(EMULATED_SOURCES) engine/cuda/races.cc)
RACES_LDFLAGS := -Wl,--wrap=memcpy,--wrap=memmove,--wrap=memset
$(BUILD)/liblonghaul_cuda_races.so: $(RACES_OBJECTS)
	$(CXX) -shared -Wl,--no-undefined $(RACES_LDFLAGS) -o $@ $^

# Tells whether it does: kernels with races, and without.
RACY_SOURCES := tests/racy_kernels.cu $(wildcard engine/cuda/device_*.cu engine/cuda/*.cc)
$(BUILD)/tests/racy_kernels: $(RACY_SOURCES:%=$(BUILD)/%.races.o)
	$(CXX) $(RACES_LDFLAGS) -o $@ $^

FLAGS_races := -O1 -w -fsanitize=thread -DLONGHAUL_RACES
$(BUILD)/%.cu.races.o: %.cu $(BUILD)/races.h.gch
	@mkdir -p $(@D)
	$(CXX) -include $(BUILD)/races.h $(EMULATED_FLAGS) $(FLAGS_races) -MMD -MP -c -o $@ $<
$(BUILD)/%.cc.races.o: %.cc
	@mkdir -p $(@D)
	$(CXX) $(EMULATED_FLAGS) -O2 -DLONGHAUL_RACES -MMD -MP -c -o $@ $<

# Other architectures, flags or units are another library.
CUDA_BUILT_AS = $(CUDA_ARCHITECTURES) $(CUDA_UNITS) $(CUDA_UNITED) '$(CUDA_FLAGS)'
$(BUILD)/cuda_machine_code: FORCE
	@mkdir -p $(@D)
	@echo $(CUDA_BUILT_AS) | cmp -s - $@ || echo $(CUDA_BUILT_AS) > $@

$(BUILD)/%.cu.o: %.cu $(BUILD)/cuda_machine_code
	@mkdir -p $(@D)
	$(NVCC) -I. -I$(BUILD) -D_GNU_SOURCE $(CUDA_FLAGS) $(CUDA_TARGETS) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<

$(BUILD)/cuda_unit%.cu: engine/cuda/unit.sh $(BUILD)/cuda_machine_code $(CUDA_UNITED) $(wildcard engine/cuda/*.cuh engine/ops/*/*.cuh)
	@mkdir -p $(@D)
	@$< $* $(CUDA_UNITS) $(CUDA_UNITED) > $@
$(BUILD)/cuda_unit%.cu.o: $(BUILD)/cuda_unit%.cu
	$(NVCC) -I. -I$(BUILD) -D_GNU_SOURCE $(CUDA_FLAGS) $(CUDA_TARGETS) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# What the program says about itself; the revision file changes only when the revision does.
$(BUILD)/revision: FORCE
	@mkdir -p $(@D)
	@git describe --always --dirty --abbrev=12 2>/dev/null > $@.new || echo unknown > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
FORCE:
$(BUILD)/bench/cell/environment.o: $(BUILD)/revision
$(BUILD)/bench/cell/environment.o: CPPFLAGS += -DLONGHAUL_COMPILER_FLAGS='"$(CFLAGS)"' \
                                          -DLONGHAUL_REVISION="\"$$(cat $(BUILD)/revision)\""

# Tests are compiled once and run once.
$(BUILD)/tests/%.o: private override CFLAGS += -O1
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/liblonghaul.a
	$(CC) $(LDFLAGS) $(LIBRARY_LDFLAGS) -o $@ $< $(BUILD)/liblonghaul.a $(LDLIBS) $(LIBRARY_CMOCKA)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
