package api

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	gl "gitlab.com/gitlab-org/api/client-go"

	"lockkeeper/forge"
)

// kinds are the types of accounts that are known: REST shows with most things
// who did them, and not whether that is a program. An account's type never
// changes. Zero value ready.
type kinds struct {
	mu    sync.Mutex
	known map[int64]forge.AccountType
}

// mostKinds bounds what is remembered; beyond it everything is asked anew.
const mostKinds = 100_000

func (k *kinds) learn(id int64, t forge.AccountType) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known == nil || len(k.known) >= mostKinds {
		k.known = map[int64]forge.AccountType{}
	}
	k.known[id] = t
}

func (k *kinds) get(id int64) (forge.AccountType, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, ok := k.known[id]
	return t, ok
}

// Someone is an account as REST names it, its type yet to be found out.
func Someone(id int64, login string) forge.User {
	if id == 0 {
		return forge.User{Type: forge.Deleted}
	}
	return forge.User{ID: id, Login: login}
}

// Basic is an account as most of REST shows it, nil for none.
func Basic(u *gl.BasicUser) forge.User {
	if u == nil {
		return forge.User{Type: forge.Deleted}
	}
	return Someone(u.ID, u.Username)
}

// Typed fills in the types of accounts: GitLab makes a bot for each project or
// group access token, and service accounts are programs too.
func (a *API) Typed(ctx context.Context, users ...*forge.User) error {
	missing := map[int64]bool{}
	for _, u := range users {
		if u.ID != 0 && u.Type == "" {
			if _, ok := a.kinds.get(u.ID); !ok {
				missing[u.ID] = true
			}
		}
	}
	ids := make([]int64, 0, len(missing))
	for id := range missing {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for some := range slices.Chunk(ids, PerPage) {
		if err := a.learnKinds(ctx, some); err != nil {
			return err
		}
	}
	for _, u := range users {
		if u.ID != 0 && u.Type == "" {
			u.Type, _ = a.kinds.get(u.ID)
		}
	}
	return nil
}

const kindsQuery = `query($ids:[ID!]){users(ids:$ids,first:100){nodes{id username name bot}}}`

// Person is an account as GraphQL shows it.
type Person struct {
	ID       string `json:"id"` // gid://gitlab/User/7
	Username string `json:"username"`
	Name     string `json:"name"`
	Bot      bool   `json:"bot"`
}

// User is the account, ID 0 for one without a number.
func (p Person) User() forge.User {
	id, err := strconv.ParseInt(p.ID[strings.LastIndexByte(p.ID, '/')+1:], 10, 64)
	if err != nil || id <= 0 {
		return forge.User{Type: forge.Deleted}
	}
	return forge.User{ID: id, Login: p.Username, Type: kindOf(p.Username, p.Name, p.Bot)}
}

// ghostly are the names that GitLab gives its ghost where somebody was called
// ghost before (gitlab.com: ghost1).
var ghostly = regexp.MustCompile(`^ghost[0-9]+$`)

// kindOf tells programs from people, and GitLab's ghost, which has what deleted
// accounts left behind, from both.
//
// Source: https://docs.gitlab.com/user/profile/account/delete_account/#associated-records
func kindOf(login, name string, bot bool) forge.AccountType {
	switch {
	case login == "ghost", name == "Ghost User" && ghostly.MatchString(login):
		return forge.Deleted
	case bot:
		return forge.Bot
	}
	return forge.Person
}

// learnKinds asks for the types of up to 100 accounts.
func (a *API) learnKinds(ctx context.Context, ids []int64) error {
	var global []string
	for _, id := range ids {
		global = append(global, GID("User", id))
	}
	var found struct {
		Users Connection[Person] `json:"users"`
	}
	if err := a.Query(ctx, kindsQuery, map[string]any{"ids": global}, &found); err != nil {
		return err
	}
	for _, p := range found.Users.Nodes {
		u := p.User()
		a.kinds.learn(u.ID, u.Type)
	}
	for _, id := range ids {
		if _, ok := a.kinds.get(id); ok {
			continue
		}
		// Not shown there, such as one that is blocked.
		var u gl.User
		err := a.Get(ctx, fmt.Sprintf("users/%d", id), nil, &u)
		if code := forge.CodeOf(err); err != nil && code != forge.NotFound && code != forge.Forbidden {
			return err
		}
		kind := forge.Deleted
		if err == nil && u.ID == id {
			kind = kindOf(u.Username, u.Name, u.Bot)
		}
		a.kinds.learn(id, kind)
	}
	return nil
}

// Pointers are for Typed.
func Pointers(users []forge.User) []*forge.User {
	out := make([]*forge.User, len(users))
	for i := range users {
		out[i] = &users[i]
	}
	return out
}

// LearnKind remembers the type of an account.
func (a *API) LearnKind(id int64, t forge.AccountType) { a.kinds.learn(id, t) }
