package policy

import (
	"strings"

	"lockkeeper/bot/policy/rule"
	"lockkeeper/forge"
)

// OwnerTeams lists the teams that own files by CODEOWNERS.
func OwnerTeams(files []File) []forge.Team {
	var names []string
	for _, f := range files {
		for _, s := range f.Owners {
			for _, o := range s.Owners {
				if name, ok := strings.CutPrefix(o, "@"); ok && strings.Contains(name, "/") {
					names = append(names, name)
				}
			}
		}
	}
	return rule.TeamsOf(names)
}
