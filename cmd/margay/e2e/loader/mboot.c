#include "mboot.h"
#include "serial.h"

enum { LINE = 4096, MODULE = 256, CFG = 1 << 16, FILES = 512 };

static char cfg_text[CFG], ks_text[CFG], cfg_url[LINE], kernel_line[LINE];
static char *modules[FILES];

/* ---- words ---- */

static unsigned long length(const char *s)
{
	unsigned long n = 0;
	while (s[n])
		n++;
	return n;
}

static int blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
static char lower(char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }

/* starts says whether s begins with word, whatever the case. */
static int starts(const char *s, const char *word)
{
	for (; *word; s++, word++)
		if (lower(*s) != lower(*word))
			return 0;
	return 1;
}

static char *find(char *s, const char *word)
{
	for (; *s; s++)
		if (starts(s, word))
			return s;
	return 0;
}

/* add appends to a line and says whether it still fits. */
static int add(char *line, unsigned long room, const char *s)
{
	unsigned long n = length(line);
	for (; *s && n + 1 < room; s++)
		line[n++] = *s;
	line[n] = 0;
	return !*s;
}

/* tidy squeezes runs of blanks to one space, in place, and trims both ends. */
static char *tidy(char *s)
{
	char *r = s, *w = s;
	for (; *r; r++) {
		if (!blank(*r))
			*w++ = *r;
		else if (w > s && w[-1] != ' ')
			*w++ = ' ';
	}
	if (w > s && w[-1] == ' ')
		w--;
	*w = 0;
	return s;
}

/* ---- saying ---- */

static void number(unsigned long v)
{
	char b[24];
	int i = sizeof b - 1;
	b[i] = 0;
	do
		b[--i] = '0' + v % 10;
	while (v /= 10);
	serial_puts(b + i);
}

static void hex(unsigned int v)
{
	for (int i = 28; i >= 0; i -= 4)
		serial_char("0123456789abcdef"[v >> i & 15]);
}

static void say(const char *mark, const char *text)
{
	serial_puts("MBOOT-");
	serial_puts(mark);
	serial_puts(": ");
	serial_puts(text);
	serial_puts("\r\n");
}

/* say_file tells one fetched file: mark, name, size, hash. */
static void say_file(const char *mark, const char *url, const struct sink *s)
{
	serial_puts("MBOOT-");
	serial_puts(mark);
	serial_puts(": ");
	serial_puts(url);
	serial_puts(" ");
	number(s->size);
	serial_puts(" ");
	hex(s->hash);
	serial_puts("\r\n");
}

/* ---- files ---- */

void sink_open(struct sink *s, char *buf, unsigned long room)
{
	s->size = 0;
	s->hash = 2166136261u;
	s->buf = buf;
	s->room = room;
}

void sink_take(struct sink *s, const void *data, unsigned long n)
{
	const unsigned char *p = data;
	for (unsigned long i = 0; i < n; i++) {
		s->hash = (s->hash ^ p[i]) * 16777619u;
		if (s->buf && s->size + i + 1 < s->room)
			s->buf[s->size + i] = p[i];
	}
	s->size += n;
}

/* text fetches a file to keep, ended by a zero byte. */
static int text(const struct machine *m, const char *url, char *buf, struct sink *s)
{
	sink_open(s, buf, CFG);
	if (m->fetch(url, s))
		return -1;
	if (s->size + 1 > CFG)
		return -1;
	buf[s->size] = 0;
	return 0;
}

/* ---- command line ---- */

struct options {
	char words[LINE];  /* the command line, cut into words */
	const char *cfg;   /* -c */
	int leave;         /* -e */
	char kernel[LINE]; /* what is left over: appended to kernelopt */
};

/* flag takes one option; next is the word behind it. It returns how many words
 * it used. Options that only some releases know count as unknown: with them a
 * boot server would hang the others. */
static int flag(struct options *o, const char *word, const char *next)
{
	if (length(word) == 2)
		switch (word[1]) {
		case 'e':
			o->leave = 1;
			return 1;
		case 'H':
		case 'Q':
		case 'U':
		case 'V':
		case 'D':
			return 1;
		case 'c':
			o->cfg = next;
			return next ? 2 : 0;
		case 'S':
		case 's':
			return next ? 2 : 0;
		}
	return 0;
}

static int ends(const char *s, const char *word)
{
	unsigned long n = length(s), k = length(word);
	return n >= k && starts(s + n - k, word);
}

/* parse reads the command line: the program's own name is dropped, options end
 * at the first word without a dash. */
static int parse(struct options *o, const char *args)
{
	char *word[LINE / 2];
	int n = 0, i = 0;

	add(o->words, LINE, args);
	tidy(o->words);
	for (char *p = o->words; *p;) {
		word[n++] = p;
		while (*p && *p != ' ')
			p++;
		if (*p)
			*p++ = 0;
	}
	if (n > 0 && *word[0] != '-' && (ends(word[0], ".efi") || ends(word[0], ".c32")))
		i = 1;
	while (i < n && *word[i] == '-') {
		int used = flag(o, word[i], i + 1 < n ? word[i + 1] : 0);
		if (!used) {
			say("BADOPT", word[i]);
			return -1;
		}
		i += used;
	}
	for (; i < n; i++) {
		add(o->kernel, LINE, " ");
		add(o->kernel, LINE, word[i]);
	}
	return 0;
}

/* ---- boot.cfg ---- */

struct config {
	char *kernel, *kernelopt, *modules, *prefix, *crypto;
	char *nobootif, *timeout, *norts, *noquirks, *title;
};

/* set stores a line's value. A key is compared up to the length of the line's
 * own key, so that "k=" sets kernel, and a blank in front of "=" spoils it. */
static int set(struct config *c, char *line)
{
	struct {
		const char *name;
		char **value;
		int integer;
	} key[] = {
		{ "kernel", &c->kernel, 0 },       { "kernelopt", &c->kernelopt, 0 },
		{ "modules", &c->modules, 0 },     { "prefix", &c->prefix, 0 },
		{ "crypto", &c->crypto, 0 },       { "title", &c->title, 0 },
		{ "nobootif", &c->nobootif, 1 },   { "timeout", &c->timeout, 1 },
		{ "noquirks", &c->noquirks, 1 },   { "norts", &c->norts, 1 },
	};
	char *eq = line;
	while (*eq && *eq != '=')
		eq++;
	if (!*eq)
		return 0;
	*eq = 0;
	for (unsigned i = 0; i < sizeof key / sizeof *key; i++) {
		if (!starts(key[i].name, line))
			continue;
		*key[i].value = tidy(eq + 1);
		for (char *d = *key[i].value; key[i].integer && *d; d++)
			if (*d < '0' || *d > '9')
				return -1;
		return 0;
	}
	return 0;
}

static int config(struct config *c, char *p)
{
	while (*p) {
		char *line = p;
		while (*p && *p != '\n')
			p++;
		if (*p)
			*p++ = 0;
		tidy(line);
		if (*line && *line != '#' && set(c, line))
			return -1;
	}
	return 0;
}

/* path makes the full name of a file that boot.cfg names. */
static int path(char *out, const char *prefix, const char *name)
{
	char raw[LINE], *scheme, *w = out;

	raw[0] = out[0] = 0;
	if (*name != '/' && *name != '\\' && !find((char *)name, "://")) {
		if (prefix && *prefix) {
			add(raw, LINE, prefix);
			add(raw, LINE, "/");
		} else {
			add(raw, LINE, cfg_url);
			char *cut = raw + length(raw);
			while (cut > raw && cut[-1] != '/')
				cut--;
			*cut = 0;
		}
	}
	if (!add(raw, LINE, name))
		return -1;
	scheme = find(raw, "://");
	for (char *r = raw; *r; r++) {
		char ch = *r == '\\' ? '/' : *r;
		if (blank(ch))
			continue;
		if (ch == '/' && w > out && w[-1] == '/' && !(scheme && r == scheme + 2))
			continue;
		*w++ = ch;
	}
	*w = 0;
	return 0;
}

/* split cuts modules= at its "---" wherever they stand. */
static int split(char *list)
{
	int n = 0;
	while (list && *list && n < FILES) {
		char *cut = find(list, "---");
		if (cut)
			*cut = 0;
		if (*tidy(list))
			modules[n++] = list;
		list = cut ? cut + 3 : 0;
	}
	return n;
}

/* ---- the boot ---- */

static int fatal(const struct options *o, const char *why)
{
	say("FATAL", why);
	while (!o->leave)
		__asm__ volatile("hlt");
	return -1;
}

static const char not_found[] = "15 (Not found)", syntax[] = "32 (Syntax)";

/* find_config fetches boot.cfg: the one it was told, else the machine's own
 * beside the loader, else the one for all. */
static int find_config(const struct machine *m, const struct options *o)
{
	struct sink s;
	const char *tail[2][3] = { { m->bootif, "/", "boot.cfg" }, { "", "", "boot.cfg" } };

	for (int i = *m->bootif ? 0 : 1; i < 2; i++) {
		cfg_url[0] = 0;
		if (o->cfg) {
			add(cfg_url, LINE, o->cfg);
		} else {
			add(cfg_url, LINE, m->dir);
			for (int k = 0; k < 3; k++)
				add(cfg_url, LINE, tail[i][k]);
		}
		if (!text(m, cfg_url, cfg_text, &s)) {
			say_file("CFG", cfg_url, &s);
			return 0;
		}
		if (o->cfg)
			break;
	}
	return -1;
}

/* crypto looks for the crypto module where mboot does; it may be missing. */
static void crypto(const struct machine *m, const struct config *c)
{
	const char *name[] = { "crypto64.efi", c->crypto, "crypto64.efi", "efi/boot/crypto64.efi" };
	struct sink s;
	char url[LINE];

	for (int i = 0; i < 4; i++) {
		if (!name[i] || !*name[i])
			continue;
		url[0] = 0;
		if (i == 0) {
			add(url, LINE, m->dir);
			add(url, LINE, name[i]);
		} else {
			path(url, c->prefix, name[i]);
		}
		sink_open(&s, 0, 0);
		if (!m->fetch(url, &s)) {
			say_file("CRYPTO", url, &s);
			return;
		}
	}
	say("CRYPTO", "none");
}

/* load fetches the kernel or a module and looks at its first bytes. An empty
 * file counts as missing. */
static int load(const struct machine *m, const struct config *c, char *item)
{
	char url[LINE], head[3];
	struct sink s;
	char *options = item;

	if (length(item) >= LINE)
		return -1;
	while (*options && *options != ' ')
		options++;
	if (*options)
		*options++ = 0;
	if (path(url, c->prefix, item))
		return -1;
	if (length(url) + 1 + length(options) >= MODULE) {
		say("TOOLONG", url);
		return -1;
	}
	sink_open(&s, head, sizeof head);
	if (m->fetch(url, &s) || s.size == 0)
		return -1;
	say_file("FILE", url, &s);
	if (s.size < 2 || head[0] != '\x1f' || head[1] != '\x8b')
		say("NOTGZIP", url);
	return 0;
}

/* probes asks for every size, as mboot does for its progress bar. */
static void probes(const struct machine *m, const struct config *c, int n)
{
	char url[LINE], item[LINE];
	for (int i = 0; m->probe && i < n; i++) {
		item[0] = 0;
		add(item, LINE, modules[i]);
		for (char *p = item; *p; p++)
			if (*p == ' ')
				*p = 0;
		if (!path(url, c->prefix, item) && m->probe(url))
			say("NOHEAD", url);
	}
}

/* kernel_args builds what the kernel is told: kernelopt, what the command line
 * had left over, and the interface that booted. */
static int kernel_args(const struct machine *m, const struct options *o, const struct config *c)
{
	int fits = add(kernel_line, LINE, c->kernel);
	if (c->kernelopt && *c->kernelopt) {
		fits &= add(kernel_line, LINE, " ");
		fits &= add(kernel_line, LINE, c->kernelopt);
	}
	fits &= add(kernel_line, LINE, o->kernel);
	if (*m->bootif && !find(kernel_line, " BOOTIF=") && !(c->nobootif && *c->nobootif == '1')) {
		fits &= add(kernel_line, LINE, " BOOTIF=");
		fits &= add(kernel_line, LINE, m->bootif);
	}
	say("KERNEL", kernel_line);
	return fits ? 0 : -1;
}

/* word copies the value of a kernel option, such as "ks=". */
static int word(char *out, const char *name)
{
	char *p = find(kernel_line, name);
	int n = 0;
	if (!p || p == kernel_line || p[-1] != ' ')
		return -1;
	for (p += length(name); *p && *p != ' '; p++)
		out[n++] = *p;
	out[n] = 0;
	return 0;
}

/* ---- the installer ---- */

static int url_char(char c)
{
	return c > ' ' && c < 127 && c != '"' && c != '\'' && c != '`' && c != ';' && c != ')' &&
	       c != '|' && c != '&' && c != '<' && c != '>' && c != '\\';
}

/* assigned says whether what stands at p is a shell variable's new value. */
static int assigned(const char *line, const char *p)
{
	if (p > line && (p[-1] == '"' || p[-1] == '\''))
		p--;
	return p > line && p[-1] == '=';
}

/* callback finds the callback URL that one line of a kickstart calls. */
static int callback(char *line, char *url)
{
	for (char *p = line; (p = find(p, "http://")); p++) {
		int n = 0;
		for (; url_char(p[n]) && n < LINE - 1; n++)
			url[n] = p[n];
		url[n] = 0;
		if (find(url, "/callback/") && !assigned(line, p))
			return 1;
	}
	return 0;
}

/* installer does what a kickstart's %pre and %post would tell the server, in
 * their order; what %firstboot would say is only printed. */
static void installer(const struct machine *m, char *p)
{
	char url[LINE], section[32] = "";
	struct sink s;

	while (*p) {
		char *line = p;
		while (*p && *p != '\n')
			p++;
		if (*p)
			*p++ = 0;
		if (*line == '%') {
			int n = 0;
			for (; line[n] && !blank(line[n]) && n < 31; n++)
				section[n] = line[n];
			section[n] = 0;
		}
		if (*line == '#' || !callback(line, url))
			continue;
		if (starts(section, "%firstboot")) {
			say("FIRSTBOOT", url);
			continue;
		}
		sink_open(&s, 0, 0);
		if (m->fetch(url, &s))
			say("NOCALLBACK", url);
		else
			say_file("CALLBACK", url, &s);
	}
}

static int kickstart(const struct machine *m)
{
	char url[LINE];
	struct sink s;

	if (word(url, "BOOTIF=") == 0)
		say("BOOTIF", url);
	if (word(url, "ks="))
		return 0;
	if (text(m, url, ks_text, &s))
		return -1;
	say_file("KS", url, &s);
	installer(m, ks_text);
	return 0;
}

int mboot_run(const struct machine *m)
{
	static struct options o;
	static struct config c;
	static char kernel[LINE];
	int n;

	say("VIA", m->via);
	say("ARGS", m->args);
	say("DIR", m->dir);
	if (parse(&o, m->args))
		return fatal(&o, syntax);
	if (find_config(m, &o))
		return fatal(&o, not_found);
	if (config(&c, cfg_text))
		return fatal(&o, syntax);
	if (!c.kernel || !*c.kernel)
		return fatal(&o, syntax);
	n = split(c.modules);
	probes(m, &c, n);
	if (kernel_args(m, &o, &c))
		return fatal(&o, "command line exceeds maximum supported length");
	if (m->uefi)
		crypto(m, &c);
	add(kernel, LINE, c.kernel);
	if (load(m, &c, kernel))
		return fatal(&o, not_found);
	for (int i = 0; i < n; i++)
		if (load(m, &c, modules[i]))
			return fatal(&o, not_found);
	if (kickstart(m))
		return fatal(&o, "kickstart not found");
	say("DONE", "reset");
	return 0;
}
