# Horizontal bars, one group for each row, at the width of a paper's column. Read by the same kind of
# file as panels.gp; x is the length of a bar, y the number of its row. Lengths are inches.

if (!exists("format")) format = 'svg'
data = name.'.dat'

longest = 0
do for [r = 1:rows] { longest = strlen(row_name[r]) > longest ? strlen(row_name[r]) : longest }
width = 3.3
pitch = 0.125
left = 0.08 + 0.041 * longest; right = 0.28; top = 0.26; bottom = 0.40
height = top + rows * pitch + bottom

if (format eq 'svg') {
    set terminal svg noenhanced size 96 * width, 96 * height font 'Helvetica,9' linewidth 0.95 \
        background '#ffffff'
}
if (format eq 'pdf') {
    set terminal pdfcairo noenhanced size width, height font 'Helvetica,6.8' linewidth 0.95
}
if (format eq 'png') {
    set terminal pngcairo noenhanced size int(300 * width), int(300 * height) \
        font 'Helvetica,6.8' fontscale 3.125 linewidth 3.2 background '#ffffff'
}
# Sizes of fonts are in the unit of the terminal: SVG's is 4/3 of a point.
small = format eq 'svg' ? ',7' : ',5.2'
set output name.'.'.format.'.partial'

ink = '#303030'; faint = '#dcdcdc'
set lmargin at screen left / width
set rmargin at screen 1 - right / width
set tmargin at screen 1 - top / height
set bmargin at screen bottom / height
unset key
set border 1 linewidth 0.6 linecolor rgb '#606060'
set xtics nomirror scale 0.35 offset 0, 0.4 textcolor rgb ink
set ytics nomirror scale 0 offset 0.6, 0 textcolor rgb ink font small
set ytics ()
do for [r = 1:rows] { set ytics add (row_name[r] r - 1) }
set grid xtics linetype 1 linewidth 0.4 linecolor rgb faint
set style fill solid 1 noborder
eval sprintf('set xrange [0:%.9g]', x_axis_high)
set yrange [rows - 0.4:-0.6]

# The key, centred over the page.
do for [m = 1:models] {
    x = 0.5 + (m - 0.5 - models / 2.0) * 0.30
    set label 10 + m model[m] at screen x - 0.03, screen 1 - 0.11 / height left textcolor rgb ink
    set object 10 + m rectangle from screen x - 0.08, screen 1 - 0.13 / height \
        to screen x - 0.045, screen 1 - 0.09 / height fillcolor rgb colour[m] fillstyle solid 1 noborder
}
set label 1 note at screen 0.5, screen 0.06 / height center font small textcolor rgb '#606060'
set label 2 x_axis at screen (left + (width - left - right) / 2) / width, \
    screen 0.19 / height center textcolor rgb ink

# The bars of a row share its pitch; the value stands behind the bar.
bar = 0.8 / models
centre(row, m) = row + bar * (m - 0.5 - models / 2.0)
plot for [b = 1:last[panels]] data index b - 1 \
        using ($1 / 2):(centre($2, style[b])):($1 / 2):(bar * 0.45) \
        with boxxyerror linecolor rgb colour[style[b]], \
    for [b = 1:last[panels]] data index b - 1 \
        using 1:(centre($2, style[b])):(sprintf('%.0f', $1)) with labels left offset 0.3, 0 \
        font (format eq 'svg' ? ',4.6' : ',3.5') textcolor rgb ink
unset output
