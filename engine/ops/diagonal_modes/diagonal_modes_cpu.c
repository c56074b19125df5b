/* Once for any number of steps: kept simple. */
#include "engine/ops/diagonal_modes/diagonal_modes.h"
#include "engine/ops/vandermonde/vandermonde_modes.h"

static void forward(const OpCall *call, const Run *run) {
    (void)run;
    const DiagonalModes *attributes = call->attributes;
    ModeSource source = mode_source(call, attributes->form);
    for (source.channel = 0; source.channel < source.D; source.channel += DOUBLES)
        for (int64_t n = 0; n < source.M; n++) {
            const Mode m = mode_of(&source, n);
            const zvector c = z_multiply(z_multiply(m.C, z_multiply(m.B, m.input)),
                                         mode_start(&source, &m, 1 - source.form.period));
            const vdouble row[4] = {m.power.re, m.power.im, 2.0 * c.re, -2.0 * c.im};
            for (int lane = 0; lane < DOUBLES && source.channel + lane < source.D; lane++)
                for (int k = 0; k < 4; k++)
                    call->out[0]->data[((source.channel + lane) * 4 + k) * source.M + n] =
                        (float)row[k][lane];
        }
}

const OpKernels ISA(diagonal_modes_cpu) = {forward, NULL};
