package gitea

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"lockkeeper/forge"
	server "lockkeeper/forge/forgetest/gitea"
)

// obj is a JSON object on its way out.
type obj = map[string]any

// person is somebody with the password that all have.
type person struct {
	f     *Forge
	login string
}

func (f *Forge) as(login string) *person { return &person{f: f, login: login} }

func (f *Forge) admin() *person { return f.as(server.Admin) }

// GitAuth is basic authentication, which the API takes too.
func (p *person) GitAuth() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(p.login+":"+p.f.Server.Password))
}

func (p *person) get(ctx context.Context, path string, out any) error {
	return p.do(ctx, http.MethodGet, path, nil, out)
}

func (p *person) post(ctx context.Context, path string, in, out any) error {
	return p.do(ctx, http.MethodPost, path, in, out)
}

func (p *person) patch(ctx context.Context, path string, in, out any) error {
	return p.do(ctx, http.MethodPatch, path, in, out)
}

func (p *person) put(ctx context.Context, path string, in any) error {
	return p.do(ctx, http.MethodPut, path, in, nil)
}

// do sends one API request and decodes the answer into out, if not nil.
func (p *person) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.f.Server.URL+"/api/v1"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", p.GitAuth())
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	op := p.login + ": " + method + " " + path
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return &forge.Error{Op: op, Code: forge.Unavailable, Err: err}
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return &forge.Error{Op: op, Code: forge.Unavailable, Err: err}
	}
	if res.StatusCode >= 300 {
		return refused(op, res.StatusCode, data)
	}
	if out == nil || len(data) == 0 {
		return nil
	}
	return json.Unmarshal(data, out)
}

// refused is an answer other than success, in Gitea's words.
func refused(op string, status int, body []byte) error {
	var said struct {
		Message string
		Errors  []string
	}
	if json.Unmarshal(body, &said) != nil {
		said.Message = string(body)
	}
	message := strings.Join(append([]string{said.Message}, said.Errors...), "; ")
	code, known := map[int]forge.Code{
		http.StatusUnauthorized: forge.Unauthorized, http.StatusForbidden: forge.Forbidden, http.StatusLocked: forge.Forbidden,
		http.StatusNotFound: forge.NotFound, http.StatusGone: forge.NotFound,
		http.StatusMethodNotAllowed: forge.Conflict, http.StatusConflict: forge.Conflict,
		http.StatusTooManyRequests: forge.RateLimited,
	}[status]
	if !known {
		if code = forge.Invalid; status >= 500 {
			code = forge.Unavailable
		}
	}
	return &forge.Error{Op: op, Code: code, Status: status, Message: cmp.Or(message, http.StatusText(status))}
}

// all reads every page of a list.
func all[T any](ctx context.Context, p *person, path string) ([]T, error) {
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	const size = 50 // the most that Gitea gives
	var list []T
	for page := 1; ; page++ {
		var some []T
		if err := p.get(ctx, fmt.Sprintf("%s%slimit=%d&page=%d", path, sep, size, page), &some); err != nil {
			return nil, err
		}
		list = append(list, some...)
		if len(some) < size {
			return list, nil
		}
	}
}
