package forgetest

import (
	"net/http"
	"slices"
	"unicode/utf8"
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
	visible := slices.DeleteFunc(slices.Clone(c.pull.reviews), func(v *review) bool {
		return v.state == "PENDING" && v.author != c.actor()
	})
	for _, v := range paginate(c, visible) {
		out = append(out, c.s.reviewJSON(c.pull, v))
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
	v := &review{id: c.s.nextID(), author: c.actor(), state: "PENDING", body: in.Body, sha: cmpOr(in.CommitID, c.pull.headSHA)}
	c.pull.reviews = append(c.pull.reviews, v)
	if in.Event != "" {
		c.submit(v, in.Event)
	}
	return ok(c.s.reviewJSON(c.pull, v))
}

func (c *call) reviewRefusal(in reviewInput) reply {
	_, known := reviewEvents[in.Event]
	own := c.actor() == c.pull.author
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
		if _, err := c.repo.git.Resolve(c.ctx, in.CommitID); err != nil {
			return unprocessable("Commit is not part of the pull request")
		}
	}
	return reply{}
}

// unprocessable is the 422 whose errors are bare sentences.
func unprocessable(message string) reply {
	return reply{status: http.StatusUnprocessableEntity, body: obj{
		"message": "Unprocessable Entity", "errors": []string{message}, "documentation_url": docs, "status": "422"}}
}

func (c *call) submit(v *review, event string) {
	v.state, v.submitted = reviewEvents[event], c.s.tick()
	c.pull.updated = v.submitted
	c.s.emitReview(c.pull, v, "submitted", c.actor())
}

func (c *call) review() *review {
	id := pathID(c, "review_id")
	for _, v := range c.pull.reviews {
		if v.id == id {
			return v
		}
	}
	return nil
}

func getReview(c *call) reply {
	if v := c.review(); v != nil {
		return ok(c.s.reviewJSON(c.pull, v))
	}
	return notFound()
}

func submitReview(c *call) reply {
	var in reviewInput
	if out, good := c.decode(&in); !good {
		return out
	}
	v := c.review()
	if v == nil || v.author != c.actor() {
		return notFound()
	}
	in.Body = cmpOr(in.Body, v.body)
	if out := c.reviewRefusal(in); out.status != 0 || in.Event == "" {
		return out
	}
	v.body = in.Body
	c.submit(v, in.Event)
	return ok(c.s.reviewJSON(c.pull, v))
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
	case v.state != "APPROVED" && v.state != "CHANGES_REQUESTED":
		return unprocessable("Can not dismiss a " + v.state + " pull request review")
	}
	v.state = "DISMISSED"
	c.pull.updated = c.s.tick()
	c.s.emitReview(c.pull, v, "dismissed", c.actor())
	return ok(c.s.reviewJSON(c.pull, v))
}

// noReviewComments: comments on single lines of a diff are not kept.
func noReviewComments(*call) reply { return ok([]any{}) }
