package talk

import (
	"cmp"
	"net/http"
	"slices"
	"unicode/utf8"

	"lockkeeper/forge/forgetest/internal/api"
	"lockkeeper/forge/forgetest/internal/hub"
)

var reviewRoutes = []route{
	api.On("GET /repos/{owner}/{repo}/pulls/{pull_number}/reviews", "read", "pull_requests:read", listReviews),
	api.On("POST /repos/{owner}/{repo}/pulls/{pull_number}/reviews", "read", "pull_requests:write", createReview),
	api.On("GET /repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}", "read", "pull_requests:read", getReview),
	api.On("POST /repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}/events", "read", "pull_requests:write", submitReview),
	api.On("PUT /repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}/dismissals", "write", "pull_requests:write", dismissReview),
	api.On("GET /repos/{owner}/{repo}/pulls/{pull_number}/comments", "read", "pull_requests:read", noReviewComments),
}

var reviewEvents = map[string]string{"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED", "": "PENDING"}

func listReviews(c *call) reply {
	out := []any{}
	visible := slices.DeleteFunc(slices.Clone(c.Pull.Reviews), func(v *hub.Review) bool {
		return v.State == "PENDING" && v.Author != c.Actor()
	})
	for _, v := range api.Paginate(c, visible) {
		out = append(out, c.Hub.ReviewJSON(c.Pull, v))
	}
	return api.OK(out)
}

type reviewInput struct {
	Event    string
	Body     string
	CommitID string `json:"commit_id"`
	Message  string
}

func createReview(c *call) reply {
	var in reviewInput
	if out, good := c.Decode(&in); !good {
		return out
	}
	if out := reviewRefusal(c, in); out.Status != 0 {
		return out
	}
	v := &hub.Review{ID: c.Hub.NextID(), Author: c.Actor(), State: "PENDING", Body: in.Body, SHA: cmp.Or(in.CommitID, c.Pull.HeadSHA)}
	c.Pull.Reviews = append(c.Pull.Reviews, v)
	if in.Event != "" {
		submit(c, v, in.Event)
	}
	return api.OK(c.Hub.ReviewJSON(c.Pull, v))
}

func reviewRefusal(c *call, in reviewInput) reply {
	_, known := reviewEvents[in.Event]
	own := c.Actor() == c.Pull.Author
	switch {
	case c.Actor() == nil:
		return api.Refuse(http.StatusUnauthorized, "Requires authentication")
	case !known:
		return api.Invalid("PullRequestReview", "event", "invalid", "")
	case own && in.Event == "APPROVE":
		return unprocessable("Review Can not approve your own pull request")
	case own && in.Event == "REQUEST_CHANGES":
		return unprocessable("Review Can not request changes on your own pull request")
	case in.Body == "" && (in.Event == "COMMENT" || in.Event == "REQUEST_CHANGES"):
		return unprocessable("Review Body can't be blank")
	case utf8.RuneCountInString(in.Body) > maxComment:
		return api.Invalid("PullRequestReview", "body", "custom", "body is too long (maximum is 65536 characters)")
	}
	if in.CommitID != "" {
		if _, err := c.Repo.Git.Resolve(c.Ctx, in.CommitID); err != nil {
			return unprocessable("Commit is not part of the pull request")
		}
	}
	return reply{}
}

// unprocessable is the 422 whose errors are bare sentences.
func unprocessable(message string) reply {
	return reply{Status: http.StatusUnprocessableEntity, Body: obj{
		"message": "Unprocessable Entity", "errors": []string{message}, "documentation_url": api.Docs, "status": "422"}}
}

func submit(c *call, v *hub.Review, event string) {
	v.State, v.Submitted = reviewEvents[event], c.Hub.Tick()
	c.Pull.Updated = v.Submitted
	c.Hub.Reviewed(c.Pull, c.Actor())
	c.Hub.EmitReview(c.Pull, v, "submitted", c.Actor())
}

func findReview(c *call) *hub.Review {
	id := api.PathID(c, "review_id")
	for _, v := range c.Pull.Reviews {
		if v.ID == id {
			return v
		}
	}
	return nil
}

func getReview(c *call) reply {
	if v := findReview(c); v != nil {
		return api.OK(c.Hub.ReviewJSON(c.Pull, v))
	}
	return api.NotFound()
}

func submitReview(c *call) reply {
	var in reviewInput
	if out, good := c.Decode(&in); !good {
		return out
	}
	v := findReview(c)
	if v == nil || v.Author != c.Actor() {
		return api.NotFound()
	}
	in.Body = cmp.Or(in.Body, v.Body)
	if out := reviewRefusal(c, in); out.Status != 0 || in.Event == "" {
		return out
	}
	v.Body = in.Body
	submit(c, v, in.Event)
	return api.OK(c.Hub.ReviewJSON(c.Pull, v))
}

func dismissReview(c *call) reply {
	var in reviewInput
	if out, good := c.Decode(&in); !good {
		return out
	}
	v := findReview(c)
	switch {
	case v == nil:
		return api.NotFound()
	case in.Message == "":
		return api.Invalid("PullRequestReview", "message", "missing_field", "")
	case v.State != "APPROVED" && v.State != "CHANGES_REQUESTED":
		return unprocessable("Can not dismiss a " + v.State + " pull request review")
	}
	v.State = "DISMISSED"
	c.Pull.Updated = c.Hub.Tick()
	c.Hub.EmitReview(c.Pull, v, "dismissed", c.Actor())
	return api.OK(c.Hub.ReviewJSON(c.Pull, v))
}

// noReviewComments: comments on single lines of a diff are not kept.
func noReviewComments(*call) reply { return api.OK([]any{}) }
