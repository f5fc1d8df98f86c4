package talk

import (
	"net/http"
	"slices"

	"lockkeeper/forge/forgetest/internal/api"
	"lockkeeper/forge/forgetest/internal/hub"
)

var requestRoutes = []route{
	api.On("GET /repos/{owner}/{repo}/pulls/{pull_number}/requested_reviewers", "read", "pull_requests:read", listRequested),
	api.On("POST /repos/{owner}/{repo}/pulls/{pull_number}/requested_reviewers", "triage", "pull_requests:write", requestReview),
	api.On("DELETE /repos/{owner}/{repo}/pulls/{pull_number}/requested_reviewers", "triage", "pull_requests:write", unrequestReview),
}

func listRequested(c *call) reply {
	o := c.Hub.PullSimple(c.Pull)
	return api.OK(obj{"users": o["requested_reviewers"], "teams": o["requested_teams"]})
}

// asked reads people and teams; one that cannot review refuses all.
func asked(c *call) (people []*hub.Account, teams []*hub.Team, refusal reply) {
	var in struct {
		Reviewers     []string
		TeamReviewers []string `json:"team_reviewers"`
	}
	if out, good := c.Decode(&in); !good {
		return nil, nil, out
	}
	stranger := api.Refuse(http.StatusUnprocessableEntity, "Reviews may only be requested from collaborators. One or more of the users or teams you specified is not a collaborator of the "+c.Repo.Full()+" repository.")
	for _, login := range in.Reviewers {
		a := c.Hub.Account(login)
		switch {
		case a != nil && a == c.Pull.Author:
			return nil, nil, api.Refuse(http.StatusUnprocessableEntity, "Review cannot be requested from pull request author.")
		case a == nil || !c.Repo.Invited(c.Hub, a):
			return nil, nil, stranger
		}
		people = append(people, a)
	}
	for _, slug := range in.TeamReviewers {
		t := c.Hub.Team(c.Repo.Owner.Login, slug)
		if t == nil || !c.Repo.TeamHasAccess(t) {
			return nil, nil, stranger
		}
		teams = append(teams, t)
	}
	return people, teams, reply{}
}

func requestReview(c *call) reply {
	people, teams, refusal := asked(c)
	if refusal.Status != 0 {
		return refusal
	}
	c.Hub.AskForReview(c.Ctx, c.Pull, c.Actor(), people, teams)
	return api.Created(c.Hub.PullSimple(c.Pull))
}

func unrequestReview(c *call) reply {
	people, teams, refusal := asked(c)
	if refusal.Status != 0 {
		return refusal
	}
	c.Pull.Requested = slices.DeleteFunc(c.Pull.Requested, func(a *hub.Account) bool { return slices.Contains(people, a) })
	c.Pull.RequestedTeams = slices.DeleteFunc(c.Pull.RequestedTeams, func(t *hub.Team) bool { return slices.Contains(teams, t) })
	c.Pull.Updated = c.Hub.Tick()
	return api.OK(c.Hub.PullSimple(c.Pull))
}
