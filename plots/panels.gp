# Panels of lines under one key, at the width of a paper's column. The file that loads this one
# (plots/SUITE/NAME.gp, written by `longhaul plot`) sets the arrays; `format` comes from the command
# line: svg, pdf or png. Lengths are inches.

if (!exists("format")) format = 'svg'
data = name.'.dat'

# Two columns in 3.3 in. Many panels or models need the full 6.9 in of a page.
if (!exists("places")) places = 0
wide = panels > 6 || models > 12 || places > 6
width = wide ? 6.9 : 3.3
columns = places ? 1 : panels > 6 ? 4 : panels > 1 ? 2 : 1
rows = (panels + columns - 1) / columns
# The foot: the note, and above it the citation in as many lines as it needs, cut at blanks.
array foot[8]
foot[1] = note
notes = strlen(note) > 0
text = strlen(sources) > 0 ? look.': '.sources : ''
fitting = int(width / 0.039)
array cited[7]
citations = 0
while (strlen(text) > 0 && citations < 7) {
    cut = strlen(text) > fitting ? fitting : 0
    while (cut > 0 && text[cut:cut] ne ' ') { cut = cut - 1 }
    citations = citations + 1
    cited[citations] = cut > 0 ? text[1:cut - 1] : text
    text = cut > 0 ? text[cut + 1:*] : ''
}
do for [i = 1:citations] { foot[notes + citations + 1 - i] = cited[i] }
notes = notes + citations

left = 0.44; right = 0.08; gap_x = 0.13; gap_y = 0.32
plot_width = (width - left - right - (columns - 1) * gap_x) / columns
plot_height = panels == 1 ? 1.75 : 0.70 * plot_width

# The key: as many columns as the longest name leaves room for.
longest = 0
do for [m = 1:models] { longest = strlen(model[m]) > longest ? strlen(model[m]) : longest }
sample = lines ? 0.26 : 0.10; key_pitch = sample + 0.10 + 0.053 * longest; key_line = 0.125
key_columns = int((width - 0.1) / key_pitch)
key_columns = key_columns > models ? models : key_columns
key_rows = (models + key_columns - 1) / key_columns

top = 0.06 + key_line * key_rows + 0.21
# Names under the axis are slanted; the longest decides the room.
name_length = 0
do for [n = 1:places] { name_length = strlen(place[n]) > name_length ? strlen(place[n]) : name_length }
slant = places ? 0.06 + 0.026 * name_length : 0
bottom = (strlen(x_axis) > 0 ? 0.36 : 0.22) + 0.10 * notes + slant
height = top + rows * plot_height + (rows - 1) * gap_y + bottom

# PDF counts points, SVG pixels of 1/96 in, PNG has 300 dots to the inch.
if (format eq 'svg') {
    set terminal svg noenhanced size 96 * width, 96 * height font 'Helvetica,9' linewidth 0.95 \
        background '#ffffff'
    mark = 0.45
}
if (format eq 'pdf') {
    set terminal pdfcairo noenhanced size width, height font 'Helvetica,6.8' linewidth 0.95
    mark = 0.30
}
if (format eq 'png') {
    set terminal pngcairo noenhanced size int(300 * width), int(300 * height) \
        font 'Helvetica,6.8' fontscale 3.125 linewidth 3.2 background '#ffffff'
    mark = 1.1
}
set output name.'.'.format.'.partial'

title_font = columns == 4 ? ',6' : ''
ink = '#303030'; faint = '#dcdcdc'
set style textbox opaque noborder fillcolor rgb '#ffffff' margins 0.4, 0.2
set multiplot

# The key is a plot of its own, in inches over the whole page.
key_x(m) = (width - key_columns * key_pitch) / 2 + ((m - 1) % key_columns) * key_pitch
key_y(m) = height - 0.06 - (0.5 + (m - 1) / key_columns) * key_line
set print $key
do for [m = 1:models] {
    print key_x(m), key_y(m)
    set label 100 + m model[m] at key_x(m) + sample + 0.05, key_y(m) left textcolor rgb ink
}
set print
set lmargin at screen 0
set rmargin at screen 1
set tmargin at screen 1
set bmargin at screen 0
unset key
unset tics
unset border
set xrange [0:width]
set yrange [0:height]
plot for [m = 1:models] $key using 1:(lines ? $2 : NaN):(sample):(0) every ::(m - 1)::(m - 1) with vectors nohead \
        linecolor rgb colour[m] linewidth 1.4 dashtype dash[m], \
    for [m = 1:models] $key using ($1 + sample / 2):2 every ::(m - 1)::(m - 1) with points \
        linecolor rgb colour[m] pointtype filled[m] pointsize mark
unset label

# Notes at the foot, from below.
do for [i = 1:notes] {
    set label 10 + i foot[i] at screen 0.5, screen (0.065 + 0.10 * (i - 1)) / height center \
        font ',5.4' textcolor rgb '#606060'
}
set label 3 x_axis at screen (left + (width - left - right) / 2) / width, \
    screen (0.05 + 0.10 * notes + 0.07) / height center textcolor rgb ink
set label 4 y_axis at screen 0.075 / width, \
    screen (bottom + (height - top - bottom) / 2) / height center rotate textcolor rgb ink

set border 3 linewidth 0.6 linecolor rgb '#606060'
set tics nomirror scale 0.35 textcolor rgb ink
set xtics nomirror offset 0, 0.4
set ytics nomirror offset 0.6, 0
set grid ytics linetype 1 linewidth 0.4 linecolor rgb faint
if (x_axis_base) { set logscale x x_axis_base }
set format x '%g'
# Ticks so far apart that their numbers do not touch: by 1, 2 or 5 in a decade.
if (!x_axis_base && !places && x_axis_high > x_axis_low) {
    least = (x_axis_high - x_axis_low) * 0.3 / plot_width
    decade = 10.0 ** floor(log10(least))
    set xtics least <= decade ? decade : least <= 2 * decade ? 2 * decade : \
        least <= 5 * decade ? 5 * decade : 10 * decade
}
# Lengths in thousands of 1024, every second power of two, where plain numbers would not fit.
if (x_axis_base == 2 && x_axis_high > 2048) {
    set xtics ()
    do for [e = int(ceil(log(x_axis_low) / log(4))):int(floor(log(x_axis_high) / log(4)))] {
        power = 4.0 ** e
        set xtics add ((power < 1024 ? sprintf('%g', power) : power < 1048576 ? \
            sprintf('%gk', power / 1024) : sprintf('%gM', power / 1048576)) power)
    }
}
# A decade or so of learning rates has ticks at 1, 2 and 5, too.
if (x_axis_base == 10 && x_axis_high < 30 * x_axis_low) {
    set xtics ()
    do for [e = int(floor(log10(x_axis_low))):int(floor(log10(x_axis_high)))] {
        do for [m in '1 2 5'] { set xtics add (sprintf('%g', m * 10.0 ** e) m * 10.0 ** e) }
    }
}
# Ticks at 1, 2 and 5 of every decade that is in sight; at 1 only when there are many.
if (y_axis_base) {
    set logscale y y_axis_base
    steps = log10(y_axis_high / y_axis_low) > 2.2 ? '1' : '1 2 5'
} else {
    if (y_axis_high == 1) { set ytics 0.25; y_axis_high = 1.04 } # room for markers at 1
}
# Thousands as 10k from five digits on: more would run into the name of the axis.
tick(value) = value < 9999 ? sprintf('%g', value) : value < 999999 ? \
    sprintf('%gk', value / 1e3) : sprintf('%gM', value / 1e6)
if (places) {
    set xtics () rotate by 30 right offset 0.6, 0 font ',6'
    do for [n = 1:places] { set xtics add (place[n] n) }
}
end(value) = value == value ? sprintf('%.9g', value) : '*'

do for [p = 1:panels] {
    x0 = left + ((p - 1) % columns) * (plot_width + gap_x)
    y1 = height - top - ((p - 1) / columns) * (plot_height + gap_y)
    set lmargin at screen x0 / width
    set rmargin at screen (x0 + plot_width) / width
    set tmargin at screen y1 / height
    set bmargin at screen (y1 - plot_height) / height
    eval sprintf('set xrange [%s:%s]', end(x_axis_low), end(x_axis_high))
    eval sprintf('set yrange [%s:%s]', end(y_axis_low), end(y_axis_high))
    leftmost = (p - 1) % columns == 0
    if (leftmost) { set format y '%g' } else { set format y '' }
    if (y_axis_base) {
        set ytics ()
        do for [e = int(floor(log10(y_axis_low))):int(ceil(log10(y_axis_high)))] {
            do for [m in steps] {
                value = m * 10.0 ** e
                set ytics add ((leftmost ? tick(value) : '') value)
            }
        }
    }
    set title title[p] offset 0, -0.75 textcolor rgb ink font title_font
    plot for [b = first[p]:last[p]] data index b - 1 using 1:(kind[b] == 7 ? $2 : NaN) \
            with lines linecolor rgb '#909090' linewidth 0.6 dashtype 2, \
        for [b = first[p]:last[p]] data index b - 1 using 1:(kind[b] == 6 ? $2 : NaN) \
            with lines linecolor rgb '#808080' linewidth 0.8 dashtype 1, \
        for [b = first[p]:last[p]] data index b - 1 every ::1::1 \
            using 1:(kind[b] == 6 ? $2 : NaN):(roof[b]) \
            with labels boxed font ',5.4' textcolor rgb '#606060', \
        for [b = first[p]:last[p]] data index b - 1 using 1:(kind[b] == 3 ? $2 : NaN) \
            with linespoints linecolor rgb colour[style[b]] linewidth 1.1 dashtype 3 \
            pointtype open[style[b]] pointsize mark * 0.9, \
        for [b = first[p]:last[p]] data index b - 1 using 1:(kind[b] == 1 ? $2 : NaN) \
            with points linecolor rgb colour[style[b]] pointtype 7 pointsize mark * 0.4, \
        for [b = first[p]:last[p]] data index b - 1 using 1:3:(0):(kind[b] == 0 || kind[b] == 4 ? $4 - $3 : NaN) \
            with vectors nohead linecolor rgb colour[style[b]] linewidth 0.8, \
        for [b = first[p]:last[p]] data index b - 1 using 1:(kind[b] == 2 ? $2 : NaN) \
            with lines linecolor rgb colour[style[b]] linewidth 1.1 dashtype dash[style[b]], \
        for [b = first[p]:last[p]] data index b - 1 using 1:(kind[b] == 2 && $3 == $3 ? $2 : NaN) \
            with points linecolor rgb colour[style[b]] pointtype filled[style[b]] \
            pointsize mark * 0.8, \
        for [b = first[p]:last[p]] data index b - 1 using 1:(kind[b] == 0 ? $2 : NaN) \
            with linespoints linecolor rgb colour[style[b]] linewidth 1.4 dashtype dash[style[b]] \
            pointtype filled[style[b]] pointsize mark, \
        for [b = first[p]:last[p]] data index b - 1 using 1:(kind[b] == 4 ? $2 : NaN) \
            with points linecolor rgb colour[style[b]] pointtype filled[style[b]] \
            pointsize mark, \
        for [b = first[p]:last[p]] data index b - 1 using 1:(kind[b] == 5 ? $2 : NaN) \
            with points linecolor rgb colour[style[b]] pointtype open[style[b]] \
            pointsize mark linewidth 0.6, \
        chance with lines linecolor rgb '#909090' linewidth 0.6 dashtype 2
    unset label
}
unset multiplot
unset output
