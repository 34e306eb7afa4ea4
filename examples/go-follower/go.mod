module example.com/follower

go 1.19
