package gitlab

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Client acts as one user, over the API as that user would.
type Client struct {
	// Login is the user.
	Login string
	// Token is the user's personal access token.
	Token string

	s *Server
}

// As gives a client for a user that was added before.
func (s *Server) As(login string) *Client {
	return &Client{Login: login, Token: s.Token(login), s: s}
}

// CloneURL is where Git finds a project.
func (s *Server) CloneURL(full string) string { return s.URL + "/" + full + ".git" }

// GitAuth is the value of an Authorization header for Git.
func (c *Client) GitAuth() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("oauth2:"+c.Token))
}

// StatusError is an answer other than success.
type StatusError struct {
	Method, Path string
	Status       int
	Body         string
}

// Error names the request and the answer.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: HTTP %d: %s", e.Method, e.Path, e.Status, e.Body)
}

// Message is the forge's own explanation.
func (e *StatusError) Message() string {
	var body struct{ Message, Error any }
	if err := json.Unmarshal([]byte(e.Body), &body); err != nil {
		return e.Error()
	}
	switch {
	case body.Message != nil:
		return fmt.Sprint(body.Message)
	case body.Error != nil:
		return fmt.Sprint(body.Error)
	}
	return e.Error()
}

// Do sends one API request (the path is below /api/v4) and decodes the answer into
// out, if not nil.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	_, err := c.send(ctx, method, "/api/v4"+path, in, out)
	return err
}

func (c *Client) send(ctx context.Context, method, path string, in, out any) (http.Header, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.s.URL+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Private-Token", c.Token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.s.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		return res.Header, &StatusError{Method: method, Path: path, Status: res.StatusCode, Body: string(data)}
	}
	if out == nil || len(data) == 0 {
		return res.Header, nil
	}
	return res.Header, json.Unmarshal(data, out)
}

// All reads a list with all its pages; the path has no parameter page.
func (c *Client) All(ctx context.Context, path string, each func(json.RawMessage) error) error {
	next := "1"
	for next != "" {
		u, err := url.Parse("/api/v4" + path)
		if err != nil {
			return err
		}
		q := u.Query()
		q.Set("per_page", "100")
		q.Set("page", next)
		u.RawQuery = q.Encode()
		var items []json.RawMessage
		header, err := c.send(ctx, http.MethodGet, u.String(), nil, &items)
		if err != nil {
			return err
		}
		for _, item := range items {
			if err := each(item); err != nil {
				return err
			}
		}
		next = header.Get("X-Next-Page")
	}
	return nil
}

// ProjectPath is the API's path of a project, by its path with namespace.
func ProjectPath(full string) string { return "/projects/" + url.PathEscape(full) }

// MRPath is the API's path of a merge request.
func MRPath(full string, iid int) string {
	return fmt.Sprintf("%s/merge_requests/%d", ProjectPath(full), iid)
}

// RequestChanges says that one does not approve, as people do: by becoming a
// reviewer and by a quick action.
func (c *Client) RequestChanges(ctx context.Context, full string, iid int) error {
	var mr struct{ Reviewers []struct{ ID int64 } }
	if err := c.Do(ctx, http.MethodGet, MRPath(full, iid), nil, &mr); err != nil {
		return err
	}
	var me struct{ ID int64 }
	if err := c.Do(ctx, http.MethodGet, "/user", nil, &me); err != nil {
		return err
	}
	ids := []int64{me.ID}
	for _, r := range mr.Reviewers {
		if r.ID != me.ID {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) > len(mr.Reviewers) {
		if err := c.Do(ctx, http.MethodPut, MRPath(full, iid), obj{"reviewer_ids": ids}, nil); err != nil {
			return err
		}
	}
	return c.Do(ctx, http.MethodPost, MRPath(full, iid)+"/notes", obj{"body": "/request_changes"}, nil)
}
