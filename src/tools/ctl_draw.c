/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daxfuse-ctl layout: the picture, on a terminal and as SVG. Each cell shows the class that has most
 * of what is in use in it; a cell is free only when nothing in it is in use.
 */
#include "tools/ctl.h"
#include "tools/size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static enum ctl_class main_class(const uint64_t cell[CTL_CLASSES])
{
    enum ctl_class best = CTL_FREE;

    for (unsigned class = CTL_SUPER; class < CTL_CLASSES; class ++)
        if (cell[class] > 0 && (best == CTL_FREE || cell[class] > cell[best]))
            best = (enum ctl_class) class;
    return best;
}

static double percent(const struct ctl_picture *picture, unsigned class)
{
    return picture->size ? 100.0 * (double)picture->total[class] / (double)picture->size : 0;
}

void ctl_draw_terminal(const struct ctl_picture *picture, unsigned columns, bool color)
{
    char size[SIZE_TEXT], cell[SIZE_TEXT];

    printf("%s; a character is %s\n\n", picture->title, size_format(picture->cell_size, cell));
    for (uint64_t i = 0; i < picture->count; i++) {
        const struct ctl_class_style *style = &ctl_styles[main_class(picture->cell[i])];
        if (i % columns == 0)
            printf("%12s  ", size_format(i * picture->cell_size, size));
        if (color)
            printf("\033[%sm%c\033[0m", style->color, style->glyph);
        else
            putchar(style->glyph);
        if (i % columns == columns - 1 || i + 1 == picture->count)
            putchar('\n');
    }
    putchar('\n');
    for (unsigned class = 0; class < CTL_CLASSES; class ++) {
        const struct ctl_class_style *style = &ctl_styles[class];
        if (picture->total[class] == 0)
            continue;
        if (color)
            printf("  \033[%sm%c\033[0m", style->color, style->glyph);
        else
            printf("  %c", style->glyph);
        printf("  %-36s %12s  %5.1f %%\n", style->text, size_format(picture->total[class], size),
               percent(picture, class));
    }
    if (!picture->detailed)
        puts("\nThe pool is served: what is in use is not told apart.");
}

/* ---- SVG ---------------------------------------------------------------------------------------------- */

enum { PER_ROW = 64, CELL = 12, STEP = 13, LEFT = 96, TOP = 64, LEGEND_LINE = 22 };

static void put_escaped(FILE *file, const char *text)
{
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '<')
            fputs("&lt;", file);
        else if (byte == '>')
            fputs("&gt;", file);
        else if (byte == '&')
            fputs("&amp;", file);
        else if (byte == '"')
            fputs("&quot;", file);
        else if (byte < 0x20 || byte == 0x7f)
            fputc('?', file);
        else
            fputc(byte, file);
    }
}

static void draw_cells(FILE *file, const struct ctl_picture *picture)
{
    char text[SIZE_TEXT];

    for (uint64_t i = 0; i < picture->count; i++) {
        uint64_t x = LEFT + i % PER_ROW * STEP, y = TOP + i / PER_ROW * STEP;
        enum ctl_class class = main_class(picture->cell[i]);
        uint64_t used = 0;
        if (i % PER_ROW == 0)
            fprintf(file,
                    "<text x=\"%d\" y=\"%" PRIu64 "\" text-anchor=\"end\" class=\"s\">%s</text>\n",
                    LEFT - 8, y + 10, size_format(i * picture->cell_size, text));
        for (unsigned c = CTL_SUPER; c < CTL_CLASSES; c++)
            used += picture->cell[i][c];
        /* A cell that is nearly empty is pale, but never so pale that it looks free. */
        double share = (double)used / (double)picture->cell_size;
        fprintf(file,
                "<rect x=\"%" PRIu64 "\" y=\"%" PRIu64 "\" width=\"%d\" height=\"%d\" fill=\"%s\"",
                x, y, CELL, CELL, ctl_styles[class].fill);
        if (class != CTL_FREE)
            fprintf(file, " opacity=\"%.2f\"", 0.35 + 0.65 * (share < 1 ? share : 1));
        fprintf(file, "><title>%s:", size_format(i * picture->cell_size, text));
        for (unsigned c = 0; c < CTL_CLASSES; c++)
            if (picture->cell[i][c] > 0)
                fprintf(file, " %s %s;", ctl_styles[c].text,
                        size_format(picture->cell[i][c], text));
        fputs("</title></rect>\n", file);
    }
}

static void draw_legend(FILE *file, const struct ctl_picture *picture, uint64_t top)
{
    char size[SIZE_TEXT];
    uint64_t y = top;

    for (unsigned class = 0; class < CTL_CLASSES; class ++) {
        if (picture->total[class] == 0)
            continue;
        fprintf(file,
                "<rect x=\"%d\" y=\"%" PRIu64 "\" width=\"14\" height=\"14\" fill=\"%s\"/>"
                "<text x=\"%d\" y=\"%" PRIu64 "\">%s</text>"
                "<text x=\"%d\" y=\"%" PRIu64 "\" text-anchor=\"end\">%s</text>"
                "<text x=\"%d\" y=\"%" PRIu64 "\" text-anchor=\"end\">%.1f %%</text>\n",
                LEFT, y, ctl_styles[class].fill, LEFT + 24, y + 12, ctl_styles[class].text,
                LEFT + 430, y + 12, size_format(picture->total[class], size), LEFT + 510, y + 12,
                percent(picture, class));
        y += LEGEND_LINE;
    }
}

int ctl_draw_svg(const struct ctl_picture *picture, const char *path)
{
    uint64_t rows = (picture->count + PER_ROW - 1) / PER_ROW, classes = 0;
    char cell[SIZE_TEXT];
    FILE *file = fopen(path, "we");

    if (file == NULL)
        return -errno;
    for (unsigned class = 0; class < CTL_CLASSES; class ++)
        classes += picture->total[class] > 0;
    uint64_t legend = TOP + rows * STEP + 24;
    uint64_t height = legend + classes * LEGEND_LINE + 16, width = LEFT + PER_ROW * STEP + 24;
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%" PRIu64 "\" height=\"%" PRIu64
            "\" "
            "viewBox=\"0 0 %" PRIu64 " %" PRIu64 "\">\n"
            "<style>text{font:13px sans-serif;fill:#263238}.t{font-size:17px;font-weight:bold}"
            ".s{font-size:10px;fill:#607d8b}</style>\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n"
            "<text x=\"%d\" y=\"28\" class=\"t\">",
            width, height, width, height, LEFT);
    put_escaped(file, picture->title);
    fprintf(file,
            "</text>\n<text x=\"%d\" y=\"48\" class=\"s\">one square is %s; the colour is what "
            "most of it is used for, paler where less is in use</text>\n",
            LEFT, size_format(picture->cell_size, cell));
    draw_cells(file, picture);
    draw_legend(file, picture, legend);
    fputs("</svg>\n", file);
    int error = ferror(file) ? -EIO : 0;
    if (fclose(file) != 0 && error == 0)
        error = -errno;
    return error;
}
