// Text for the console.
#include "kernel.h"

#include <stdarg.h>

#define LINE 128u

struct line { char text[LINE]; unsigned used; };

static void put(struct line *line, char c) {
  if (line->used < LINE) line->text[line->used++] = c;
}

static void put_number(struct line *line, unsigned value) {
  char digits[10];
  int used = 0;
  do digits[used++] = (char)('0' + value % 10); while (value /= 10);
  while (used) put(line, digits[--used]);
}

// %s, %d (unsigned) and plain text, at most a line.
void say(const char *format, ...) {
  struct line line;
  line.used = 0;
  va_list arguments;
  va_start(arguments, format);
  for (; *format; format++) {
    if (*format != '%') { put(&line, *format); continue; }
    if (*++format == 'd') put_number(&line, va_arg(arguments, unsigned));
    else for (const char *text = va_arg(arguments, const char *); *text; text++) put(&line, *text);
  }
  va_end(arguments);
  console_write(line.text, line.used);
}

int same_text(const char *a, const char *b, unsigned length) {
  while (length-- > 0) if (*a++ != *b++) return 0;
  return 1;
}
