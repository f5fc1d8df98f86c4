package rest

import (
	"cmp"
	"net/http"
	"slices"
	"unicode/utf8"

	"lockkeeper/forge/forgetest/internal/hub"
)

var reviewRoutes = []route{
	{"GET /repos/{owner}/{repo}/pulls/{pull_number}/reviews", "read", "pull_requests:read", listReviews},
	{"POST /repos/{owner}/{repo}/pulls/{pull_number}/reviews", "read", "pull_requests:write", createReview},
	{"GET /repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}", "read", "pull_requests:read", getReview},
	{"POST /repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}/events", "read", "pull_requests:write", submitReview},
	{"PUT /repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}/dismissals", "write", "pull_requests:write", dismissReview},
	{"GET /repos/{owner}/{repo}/pulls/{pull_number}/comments", "read", "pull_requests:read", noReviewComments},
}

var reviewEvents = map[string]string{"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED", "": "PENDING"}

func listReviews(c *call) reply {
	out := []any{}
	visible := slices.DeleteFunc(slices.Clone(c.pull.Reviews), func(v *hub.Review) bool {
		return v.State == "PENDING" && v.Author != c.actor()
	})
	for _, v := range paginate(c, visible) {
		out = append(out, c.s.ReviewJSON(c.pull, v))
	}
	return ok(out)
}

type reviewInput struct {
	Event    string
	Body     string
	CommitID string `json:"commit_id"`
	Message  string
}

func createReview(c *call) reply {
	var in reviewInput
	if out, good := c.decode(&in); !good {
		return out
	}
	if out := c.reviewRefusal(in); out.status != 0 {
		return out
	}
	v := &hub.Review{ID: c.s.NextID(), Author: c.actor(), State: "PENDING", Body: in.Body, SHA: cmp.Or(in.CommitID, c.pull.HeadSHA)}
	c.pull.Reviews = append(c.pull.Reviews, v)
	if in.Event != "" {
		c.submit(v, in.Event)
	}
	return ok(c.s.ReviewJSON(c.pull, v))
}

func (c *call) reviewRefusal(in reviewInput) reply {
	_, known := reviewEvents[in.Event]
	own := c.actor() == c.pull.Author
	switch {
	case c.actor() == nil:
		return refuse(http.StatusUnauthorized, "Requires authentication")
	case !known:
		return invalid("PullRequestReview", "event", "invalid", "")
	case own && in.Event == "APPROVE":
		return unprocessable("Review Can not approve your own pull request")
	case own && in.Event == "REQUEST_CHANGES":
		return unprocessable("Review Can not request changes on your own pull request")
	case in.Body == "" && (in.Event == "COMMENT" || in.Event == "REQUEST_CHANGES"):
		return unprocessable("Review Body can't be blank")
	case utf8.RuneCountInString(in.Body) > maxComment:
		return invalid("PullRequestReview", "body", "custom", "body is too long (maximum is 65536 characters)")
	}
	if in.CommitID != "" {
		if _, err := c.repo.Git.Resolve(c.ctx, in.CommitID); err != nil {
			return unprocessable("Commit is not part of the pull request")
		}
	}
	return reply{}
}

// unprocessable is the 422 whose errors are bare sentences.
func unprocessable(message string) reply {
	return reply{status: http.StatusUnprocessableEntity, body: obj{
		"message": "Unprocessable Entity", "errors": []string{message}, "documentation_url": Docs, "status": "422"}}
}

func (c *call) submit(v *hub.Review, event string) {
	v.State, v.Submitted = reviewEvents[event], c.s.Tick()
	c.pull.Updated = v.Submitted
	c.s.EmitReview(c.pull, v, "submitted", c.actor())
}

func (c *call) review() *hub.Review {
	id := pathID(c, "review_id")
	for _, v := range c.pull.Reviews {
		if v.ID == id {
			return v
		}
	}
	return nil
}

func getReview(c *call) reply {
	if v := c.review(); v != nil {
		return ok(c.s.ReviewJSON(c.pull, v))
	}
	return notFound()
}

func submitReview(c *call) reply {
	var in reviewInput
	if out, good := c.decode(&in); !good {
		return out
	}
	v := c.review()
	if v == nil || v.Author != c.actor() {
		return notFound()
	}
	in.Body = cmp.Or(in.Body, v.Body)
	if out := c.reviewRefusal(in); out.status != 0 || in.Event == "" {
		return out
	}
	v.Body = in.Body
	c.submit(v, in.Event)
	return ok(c.s.ReviewJSON(c.pull, v))
}

func dismissReview(c *call) reply {
	var in reviewInput
	if out, good := c.decode(&in); !good {
		return out
	}
	v := c.review()
	switch {
	case v == nil:
		return notFound()
	case in.Message == "":
		return invalid("PullRequestReview", "message", "missing_field", "")
	case v.State != "APPROVED" && v.State != "CHANGES_REQUESTED":
		return unprocessable("Can not dismiss a " + v.State + " pull request review")
	}
	v.State = "DISMISSED"
	c.pull.Updated = c.s.Tick()
	c.s.EmitReview(c.pull, v, "dismissed", c.actor())
	return ok(c.s.ReviewJSON(c.pull, v))
}

// noReviewComments: comments on single lines of a diff are not kept.
func noReviewComments(*call) reply { return ok([]any{}) }
