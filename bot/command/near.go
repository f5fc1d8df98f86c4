package command

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// mention is a line that talks to the bot instead of giving a command:
// "@lockkeeper apply", "@lockkeeper-acme[bot]: /apply staging", "lockkeeper plan".
var mention = regexp.MustCompile(`(?i)^(@?)lockkeeper(?:-[a-z0-9-]+)?(?:\[bot\])?[,:]?[ \t]+/?([a-z]+)[ \t]*[.!]?(.*)$`)

// nearMiss explains a line that is no command but was probably meant to be
// one; err is nil for all other lines.
func nearMiss(line string, reserved []string) (suggestion string, err error) {
	if m := mention.FindStringSubmatch(line); m != nil {
		spec, known := Lookup(strings.ToLower(m[2]))
		// Without the @, "lockkeeper plan failed" is a sentence.
		if known && (m[1] == "@" || strings.TrimSpace(m[3]) == "") {
			s := spec.spelled(reserved)
			return s, fmt.Errorf("commands start with a slash; did you mean %s?", code(s))
		}
		return "", nil
	}
	plain := skeleton(line)
	name, slash := strings.CutPrefix(plain, "/")
	if !slash {
		return "", nil
	}
	if word, rest := cutWord(plain); word == Prefix {
		return nearLong(line, rest)
	}
	trimmed := strings.TrimLeft(name, " ")
	word, _ := cutWord(trimmed)
	shown := plain[:len(plain)-len(trimmed)+len(word)]
	spec, found := closest(word)
	if !found {
		return "", nil
	}
	s := spec.spelled(reserved)
	if r, strange := strangeRune(line); strange {
		return s, fmt.Errorf("a command must be plain ASCII, and this line holds %s; did you mean %s?", describe(r), code(s))
	}
	return s, fmt.Errorf("there is no command %s; did you mean %s?", code(shown), code(s))
}

// nearLong explains a line in the long spelling, which talks to nobody but us.
func nearLong(line, rest string) (suggestion string, err error) {
	word, _ := cutWord(strings.TrimLeft(rest, " \t"))
	spec, found := closest(strings.TrimPrefix(word, "/"))
	if !found {
		return "/help", fmt.Errorf("there is no command %s; %s lists them", code(strings.TrimSpace(Prefix+" "+word)), code("/help"))
	}
	s := Prefix + " " + string(spec.Name)
	if r, strange := strangeRune(line); strange {
		return s, fmt.Errorf("a command must be plain ASCII, and this line holds %s; did you mean %s?", describe(r), code(s))
	}
	return s, fmt.Errorf("there is no command %s; did you mean %s?", code(Prefix+" "+word), code(s))
}

// closest finds the command that a word is a slip of: other case, trailing
// punctuation, or one or two letters off.
func closest(word string) (Spec, bool) {
	word = strings.ToLower(strings.TrimRight(word, `.,:;!?)\*_`+"`"))
	if strings.ContainsAny(word, "/") || len(word) > 20 {
		return Spec{}, false // a path
	}
	best, at := Spec{}, 3
	for _, s := range Table() {
		for _, name := range append([]string{string(s.Name)}, s.Aliases...) {
			allowed := 2
			if len(name) <= 4 {
				allowed = 1 // among short words, two letters off is another word
			}
			if d := distance(word, name); d <= allowed && d < at {
				best, at = s, d
			}
		}
	}
	return best, at < 3
}

// distance is the number of letters to insert, drop, change or swap with
// their neighbour (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(change, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// lookalikes are letters of other scripts that are drawn like Latin ones, as
// far as the names of commands can be written with them.
var lookalikes = strings.NewReplacer(
	"а", "a", "ɑ", "a", "α", "a", "ϲ", "c", "с", "c", "ԁ", "d", "ɗ", "d", "е", "e", "ё", "e", "ε", "e", "һ", "h", "հ", "h",
	"і", "i", "ı", "i", "ι", "i", "ⅰ", "i", "ӏ", "l", "ⅼ", "l", "ο", "o", "о", "o", "օ", "o", "р", "p", "ρ", "p",
	"ѕ", "s", "υ", "u", "ս", "u", "ν", "v", "ѵ", "v", "х", "x", "χ", "x", "у", "y", "γ", "y", "ո", "n", "п", "n", "т", "t", "τ", "t", "к", "k", "κ", "k",
	"А", "A", "Α", "A", "Р", "P", "Ρ", "P", "Н", "H", "Η", "H", "Ѕ", "S", "Ѐ", "E", "Е", "E", "Ε", "E",
	"⁄", "/", "∕", "/", "⧸", "/", "╱", "/", "／", "/",
)

// skeleton is what a line looks like to a reader: without invisible
// characters, with ordinary spaces and Latin letters.
func skeleton(line string) string {
	line = strings.Map(func(r rune) rune {
		switch {
		case r >= 0xff01 && r <= 0xff5e: // fullwidth forms
			return r - 0xff01 + '!'
		case r == '\t' || unicode.IsSpace(r):
			return ' '
		case unicode.In(r, unicode.Cf, unicode.Cc, unicode.Mn, unicode.Me) || r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, line)
	return strings.TrimSpace(lookalikes.Replace(line))
}

// strangeRune finds the first character that is not printable ASCII.
func strangeRune(line string) (rune, bool) {
	for _, r := range line {
		if r != '\t' && (r < ' ' || r > '~') {
			return r, true
		}
	}
	return 0, false
}

// describe names a character that cannot be seen or trusted.
func describe(r rune) string {
	what := "the character"
	switch {
	case r == unicode.ReplacementChar:
		what = "a broken character,"
	case unicode.IsSpace(r):
		what = "an unusual space,"
	case unicode.Is(unicode.Bidi_Control, r):
		what = "a control for right-to-left text,"
	case unicode.In(r, unicode.Cf, unicode.Cc):
		what = "an invisible character,"
	case unicode.IsLetter(r):
		what = "the letter"
	}
	return fmt.Sprintf("%s U+%04X", what, r)
}
