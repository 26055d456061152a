package command

import (
	"regexp"
	"slices"
	"strings"

	"margay/nodedb"
)

// secretName is what a flag or attribute is called whose value is a secret.
var secretName = regexp.MustCompile(`(?i)(pass(word|wd|phrase)?|secret|token|community)$`)

// maskArgs returns a command's words with secrets hidden: the values of
// attributes and columns that hold secrets, and of flags that are named so.
func maskArgs(args []string) []string {
	out := slices.Clone(args)
	site := slices.ContainsFunc(args, isSecretSite)
	for i, arg := range out {
		if name, _, ok := strings.Cut(arg, "="); site && ok && strings.TrimRight(name, "+,^-!~") == "site.value" {
			out[i] = name + "=" + nodedb.Hidden
			continue
		}
		if i > 0 && strings.HasPrefix(out[i-1], "--") && !strings.Contains(out[i-1], "=") && secretName.MatchString(out[i-1]) && !strings.HasPrefix(arg, "-") {
			out[i] = nodedb.Hidden
			continue
		}
		out[i] = maskPairs(maskAddress(arg))
	}
	return out
}

// maskAddress hides the password in an address of the web.
func maskAddress(arg string) string {
	scheme, rest, ok := strings.Cut(arg, "://")
	end := strings.IndexByte(rest+"/", '/')
	at := strings.LastIndexByte(rest[:end], '@')
	if !ok || at < 0 {
		return arg
	}
	user, _, has := strings.Cut(rest[:at], ":")
	if !has {
		return arg
	}
	return scheme + "://" + user + ":" + nodedb.Hidden + rest[at:]
}

// maskPairs hides secrets in name=value and in lists of such pairs. What
// follows a secret's = is hidden to the end: it may hold commas.
func maskPairs(arg string) string {
	from := 0
	for {
		i := strings.IndexByte(arg[from:], '=')
		if i < 0 {
			return arg
		}
		name := strings.TrimRight(arg[from:from+i], "+,^-=!~@")
		if j := strings.LastIndexAny(name, ", "); j >= 0 {
			name = name[j+1:]
		}
		if isSecretName(name) {
			return arg[:from+i+1] + nodedb.Hidden
		}
		from += i + 1
	}
}

// isSecretSite reports whether a word is the key=KEY of chtab's that names a
// setting of the site which is a secret.
func isSecretSite(arg string) bool {
	key, ok := strings.CutPrefix(arg, "key=")
	return ok && nodedb.IsSecret("site."+key)
}

func isSecretName(name string) bool {
	if nodedb.IsSecret(name) || secretName.MatchString(name) {
		return true
	}
	return slices.ContainsFunc(nodedb.Types(), func(t *nodedb.Type) bool {
		a := t.Attribute(name)
		return a != nil && a.Secret()
	})
}

// commandLine is words as they could be typed again.
func commandLine(args []string) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if a == "" || strings.ContainsAny(strings.TrimSuffix(a, nodedb.Hidden), " \t\n'\"$|<>&;*?()[]#~`\\") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		b.WriteString(a)
		if b.Len() > maxLineKept {
			return b.String()[:maxLineKept] + "..."
		}
	}
	return b.String()
}

// maxLineKept bounds a command line that is kept.
const maxLineKept = 1000

// reads reports whether a command, its name first, only looks at things. To
// look at passwords is more than that.
func reads(args []string) bool {
	if len(args) == 0 || args[0] == "" || strings.HasPrefix(args[0], "_") || slices.Contains(args, "--help") || slices.Contains(args, "--dry-run") {
		return true
	}
	if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--reveal") }) {
		return false
	}
	last := args[len(args)-1]
	switch args[0] {
	case "lsdef", "nodels", "tabdump", "gettab", "tabgrep", "pping", "lsxcatd", "lsvm", "lshypervisor", "rinv", "rvitals", "nodediscoverls",
		"nodediscoverstatus", "watch", "probe", "render", "show", "version", "history", "check", "doctor", "leases":
		return true
	case "nodestat":
		return !slices.Contains(args, "-u") && !slices.Contains(args, "--updatedb")
	case "reventlog":
		return last != "clear"
	case "nodeset", "rpower", "rbeacon", "rsetboot":
		return last == "stat" || last == "state" || last == "status"
	case "makedhcp", "makedns", "makehosts":
		return slices.Contains(args, "-q")
	case "makenetworks":
		return slices.Contains(args, "-d")
	case "rspconfig":
		return !slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, "=") })
	case "hoststate":
		return len(args) > 1 && args[1] != "rollback"
	case "media":
		return len(args) > 1 && args[1] != "remove"
	}
	return false
}
