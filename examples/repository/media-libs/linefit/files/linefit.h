#ifndef LINEFIT_H
#define LINEFIT_H

typedef void linefit_line(const char *text, void *context);

/* Breaks a text between words into lines of at most `columns`. */
void linefit_break(const char *text, int columns, linefit_line *line, void *context);
#endif
