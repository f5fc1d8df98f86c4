package fields

import (
	"fmt"
	"strconv"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

// Join appends a map key to a path, quoted unless it is a plain word.
func Join(path, key string) string {
	plain := key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
	if !plain {
		return path + "[" + strconv.Quote(key) + "]"
	}
	return join(path, key)
}

// PathOf prints a path of managedFields as FieldChange.Path does.
func PathOf(p fieldpath.Path) string {
	out := ""
	for _, pe := range p {
		switch {
		case pe.FieldName != nil:
			out = Join(out, *pe.FieldName)
		case pe.Key != nil:
			out += keySelector(*pe.Key)
		case pe.Value != nil:
			out += "[=" + scalar((*pe.Value).Unstructured()) + "]"
		case pe.Index != nil:
			out += fmt.Sprintf("[%d]", *pe.Index)
		}
	}
	return out
}

func keySelector(fields value.FieldList) string {
	var parts []string
	for _, f := range fields {
		parts = append(parts, f.Name+"="+scalar(f.Value.Unstructured()))
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// Within reports whether a path is another one or lies below it.
func Within(path, parent string) bool {
	rest, ok := strings.CutPrefix(path, parent)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
